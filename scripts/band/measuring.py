"""Figures of published transcoders on held-out text, as ``feature-graph quality`` gives them for any dictionary.

Responses are measured twice: along directions of all features of earlier dictionaries, and along those of every fifth, which trained
nothing (``response_ev_held_out``).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from feature_graph.dictionaries import SiteCodec, build_site_codecs
from feature_graph.evaluation.quality import QualityOptions, dictionary_quality, response_ev
from feature_graph.utils import write_json
from scripts.band.directions import is_held_out

log = logging.getLogger("feature_graph.band")
_JUDGED = 8


def measure_texts(
    model: Any, before: Mapping[str, Any], transcoders: Mapping[str, Any], rows: Mapping[str, NDArray[np.int32]], path: Path
) -> None:
    """Write the figures of ``transcoders`` on each text.

    Args:
        model: The model.
        before: SAEs before the band, whose directions are measured along, too.
        transcoders: Name of the site → transcoder.
        rows: Name of the text → int32 [n, context].
        path: A JSON file: text → site → figures; texts that are in it already are not measured again.
    """
    first = torch.as_tensor(next(iter(rows.values()))[:_JUDGED], dtype=torch.long)
    sources = build_site_codecs(model, {**before, **transcoders}, first)
    codecs = {name: sources[name] for name in transcoders}
    held_out = {name: held_out_features(codec) for name, codec in sources.items()}
    options = QualityOptions()
    found: dict[str, dict[str, Any]] = json.loads(path.read_text())["texts"] if path.exists() else {}
    for text, contexts in rows.items():
        if text in found:
            continue
        tokens = torch.as_tensor(contexts, dtype=torch.long)
        quality = dictionary_quality(model, codecs, tokens, sources=sources, options=options, progress=True)
        few = tokens[: options.response_documents]
        responses = response_ev(model, codecs, few, sources=held_out, options=options.response, progress=True)
        found[text] = {
            name: one.to_dict()
            | {"response_ev_held_out": {kind: figure and figure.value for kind, figure in responses[name].explained.items()}}
            for name, one in quality.items()
        }
        write_json(path, (json.loads(path.read_text()) if path.exists() else {}) | {"texts": found})
        log.info("measured on %s", text)


def held_out_features(codec: SiteCodec) -> SiteCodec:
    """A dictionary of the features alone whose directions train nothing."""
    at = torch.nonzero(is_held_out(torch.arange(codec.d_sae))).flatten()
    return replace(
        codec,
        w_enc=codec.w_enc[:, at],
        b_enc=codec.b_enc[at],
        w_dec=codec.w_dec[at],
        threshold=None if codec.threshold is None else codec.threshold[at],
        decoder_norm=codec.decoder_norm[at],
        shipped_scale=codec.shipped_scale[at],
        activity_threshold=codec.activity_threshold[at],
    )
