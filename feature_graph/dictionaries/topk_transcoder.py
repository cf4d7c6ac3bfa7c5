"""TopK transcoders, with and without skip, for which SAELens has no class: its transcoders with its TopK.

Of the k largest pre-activations those above 0 are kept. circuit-tracer, whose users train such transcoders, keeps negative ones, too, which
happens only where fewer than k of all features are positive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from sae_lens import SkipTranscoder, Transcoder, TranscoderConfig
from sae_lens.saes.topk_sae import TopK
from torch import Tensor


@dataclass
class TopKTranscoderConfig(TranscoderConfig):
    """Settings of a TopK transcoder.

    Attributes:
        k: Features that survive the competition at each token.
    """

    k: int = 32

    @classmethod
    def architecture(cls) -> str:
        """Name of the architecture, as SAELens' configurations give theirs."""
        return "topk_transcoder"


@dataclass
class TopKSkipTranscoderConfig(TopKTranscoderConfig):
    """The same for one with a skip connection."""

    @classmethod
    def architecture(cls) -> str:
        """Name of the architecture."""
        return "topk_skip_transcoder"


class TopKTranscoder(Transcoder):
    """SAELens' transcoder with its TopK in place of the ReLU."""

    def get_activation_fn(self) -> Callable[[Tensor], Tensor]:
        """The k largest of each token, and of these the positive ones."""
        activation: Callable[[Tensor], Tensor] = TopK(int(self.cfg.k))
        return activation

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any]) -> Self:
        """Made of settings, weights not set."""
        return cls(TopKTranscoderConfig.from_dict(config_dict))


class TopKSkipTranscoder(TopKTranscoder, SkipTranscoder):
    """The same with a skip connection, which no feature is part of."""

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any]) -> Self:
        """Made of settings, weights not set."""
        return cls(TopKSkipTranscoderConfig.from_dict(config_dict))


#: Name of the architecture → its class.
CLASSES: dict[str, type[TopKTranscoder]] = {"topk_transcoder": TopKTranscoder, "topk_skip_transcoder": TopKSkipTranscoder}
