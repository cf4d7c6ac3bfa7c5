"""What a model's output stands for: the next token, other things (moves of a game, residues), or one number."""

from __future__ import annotations

from feature_graph.dictionaries import HookedModel


def n_outputs(model: HookedModel) -> int:
    """Outputs a position: ``d_vocab_out``, which TransformerLens leaves at -1, or out, where it is the vocabulary."""
    stated = getattr(model.cfg, "d_vocab_out", None)
    return int(stated) if stated is not None and stated > 0 else int(model.cfg.d_vocab)


def predicts_tokens(model: HookedModel) -> bool:
    """Whether each output stands for a token, so that the output at a position can be compared with the next token.

    Told by the numbers: as many outputs as tokens. A model whose outputs are as many, but something else, cannot be distinguished.
    """
    return n_outputs(model) == int(model.cfg.d_vocab)
