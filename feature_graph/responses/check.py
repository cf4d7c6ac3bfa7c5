"""Whether responses belong to the dictionaries, and to the text, that they are read with."""

from __future__ import annotations

from feature_graph.artifacts import ArtifactError, ResponseStore
from feature_graph.dictionaries import Dictionaries, weights_hash


def check_responses(store: ResponseStore, saes: Dictionaries, text: str | None = None) -> None:
    """Refuse responses of other dictionaries, or of another text.

    Args:
        store: The responses.
        saes: Layer → SAELens SAE.
        text: Hash of the text that a measurement uses; None: not compared.

    Raises:
        ArtifactError: Naming the layer.
    """
    known = store.meta.get("dictionaries", {})
    for layer, sae in saes.items():
        if known.get(str(layer)) not in (None, weights_hash(sae)):
            raise ArtifactError(f"{store.path}: its responses at layer {layer} are of another dictionary; measure them again")
    if text is not None and store.meta.get("text") not in (None, text):
        raise ArtifactError(f"{store.path}: its responses were measured on another text than the recorded activations; measure them again")
