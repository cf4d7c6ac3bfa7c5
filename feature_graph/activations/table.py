"""The rows of features.parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from feature_graph.activations.errors import CollectError
from feature_graph.activations.labels import Decode, feature_labels
from feature_graph.artifacts import ActivationStore, CandidateSet, FeatureNumbers, feature_id, layer_of, number_pairs, site_facts
from feature_graph.dictionaries import HookedModel
from feature_graph.utils import whole_file
from ingest.formats import FEATURES, write_table

#: Share of counted tokens above which a feature is called dense.
DENSE = 0.2


def build_features_table(
    store: ActivationStore, candidates: CandidateSet, decode: Decode | None = None, numbers: FeatureNumbers | None = None
) -> pa.Table:
    """One row for every source and target of the candidates, columns of ``ingest.formats.FEATURES``, sorted by fid.

    Args:
        store: Activations of the run.
        candidates: Pairs of the run; they also carry the importance.
        decode: Token ids → text, for the labels; None leaves them empty.
        numbers: Features to list instead of those of the pairs.
    """
    numbers = numbers or number_pairs(candidates.frame)
    layers = [layer for layer in store.layers if (numbers.layers == layer).any()]
    frames = [_layer_frame(store, candidates, numbers, layer, decode) for layer in layers]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*FEATURES.names, "site"])
    frame["fid"] = numbers.fids(frame["site"].to_numpy(), frame["index"].to_numpy())
    schema = FEATURES.schema.remove_metadata()
    return pa.Table.from_pandas(frame[FEATURES.names], schema=schema, preserve_index=False)


def write_features(
    path: str | Path, candidates: CandidateSet, model: HookedModel | None = None, numbers: FeatureNumbers | None = None
) -> int:
    """Write features.parquet for the candidates' features, labelled with the model's tokenizer if it has one.

    Args:
        path: The file; replaced whole.
        candidates: Pairs of the run, with their store.
        model: HookedTransformer; None leaves the labels empty.
        numbers: Features to list; those of the pairs if None.

    Returns:
        Rows written.

    Raises:
        CollectError: If the candidates carry no store.
    """
    if candidates.store is None:
        raise CollectError("candidates: got a set without its store; load it with CandidateSet.load(path, store)")
    tokenizer = getattr(model, "tokenizer", None)
    table = build_features_table(candidates.store, candidates, decoder_of(tokenizer), numbers)
    with whole_file(path) as part:
        write_table(part, FEATURES, table, {"sites": list(site_facts(candidates.store.sites).values())})
    return int(table.num_rows)


def decoder_of(tokenizer: Any) -> Decode | None:
    """Token ids → text by a transformers tokenizer, spaces and special tokens kept as they are; None without one."""
    if tokenizer is None:
        return None
    return lambda ids: str(tokenizer.decode(ids, clean_up_tokenization_spaces=False, skip_special_tokens=False))


def _layer_frame(
    store: ActivationStore, candidates: CandidateSet, numbers: FeatureNumbers, layer: int, decode: Decode | None
) -> pd.DataFrame:
    index = numbers.of_layer(layer)
    site, density = store.sites[layer], store.feature_frequencies[layer][index]
    unmeasured = np.full(site.d_sae, np.nan)
    columns: dict[str, Any] = {
        "id": [feature_id(layer, i) for i in index],
        "uid": [site.uid(int(i)) for i in index],
        "site": np.full(len(index), layer, dtype=np.int64),
        "layer": np.full(len(index), layer_of(layer), dtype=np.int32),
        "index": index.astype(np.int32),
        "hook": site.hook,
        "label": feature_labels(store, decode, layer, index.tolist()),
        "density": density,
        "mean_act": store.mean_activations[layer][index],
        "max_act": store.max_activations[layer][index].astype(np.float64),
        "decoder_norm": store.decoder_norms[layer][index].astype(np.float64),
        "dead": density == 0,
        "dense": density > DENSE,
        "importance": candidates.importance.get(layer, unmeasured)[index],
        "neuronpedia_url": [site.neuronpedia_url(int(i)) for i in index],
    }
    return pd.DataFrame(columns)
