"""The derivative of a dictionary: what it makes of a small change of what it reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from feature_graph.dictionaries.codec import SiteCodec


@dataclass(frozen=True)
class DictionaryResponse:
    """What a dictionary makes of changes of what it reads, by part; [S, d_out].

    Attributes:
        features: Written by the features that are on.
        skip: Added by the linear map of a skip transcoder; 0 for others.
    """

    features: Tensor
    skip: Tensor


@torch.no_grad()
def dictionary_response(codec: SiteCodec, x: Tensor, change: Tensor) -> DictionaryResponse:
    """The derivative of a dictionary: decoder, gates and encoder, and its skip connection.

    Args:
        codec: The dictionary.
        x: What it reads, [S, d_in]; says which features are on (TopK: after the competition).
        change: Derivative of what it reads, [S, d_in].
    """
    x, change = x.to(codec.w_enc.dtype), change.to(codec.w_enc.dtype)
    features = ((change @ codec.w_enc) * (codec.record(x) > 0)) @ codec.w_dec
    return DictionaryResponse(features, codec.skip(change) + torch.zeros_like(features))
