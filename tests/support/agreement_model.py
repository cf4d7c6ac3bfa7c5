"""A hand-written model in which the verb agrees with its subject, its SAEs and its prompts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sae_lens.saes import StandardSAE, StandardSAEConfig
from sae_lens.saes.sae import SAEMetadata
from tokenizers import Tokenizer, models, pre_tokenizers
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformers import PreTrainedTokenizerFast

from feature_graph.subgraphs import Behavior, PromptPair
from feature_graph.subgraphs.tokens import PromptTokens
from tests.support.component_dictionaries import transcoder_of

NOUNS = [f"noun{i}" for i in range(32)]
WORDS = ["the", "is", "are", "were", *NOUNS, *(f"{noun}s" for noun in NOUNS)]
SINGULAR, PLURAL, NOISE = 0, 1, 2
STRENGTH = {SINGULAR: 2.0, PLURAL: 3.0}


def toy_model(gain: float = 1.0) -> HookedTransformer:
    """Two empty blocks; a plural noun writes 3 · plural, a singular one 2 · singular; the verbs read these directions."""
    d_model = 128
    cfg = HookedTransformerConfig(
        model_name="toy", n_layers=2, d_model=d_model, n_ctx=8, d_head=4, n_heads=1, d_mlp=4, d_vocab=len(WORDS), act_fn="relu",
        normalization_type=None, default_prepend_bos=False, init_weights=False, device="cpu",
    )  # fmt: skip
    model = HookedTransformer(cfg)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for i, word in enumerate(WORDS):
            model.embed.W_E[i, 8 + i] = 1.0
            if word.startswith("noun"):
                kind = PLURAL if word.endswith("s") else SINGULAR
                model.embed.W_E[i, kind] = STRENGTH[kind]
        for verb, kind in (("is", SINGULAR), ("are", PLURAL)):
            model.unembed.W_U[kind, WORDS.index(verb)] = gain
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="the"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model.tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    return model.eval()


def toy_saes(d_model: int = 128) -> dict[int, Any]:
    """Dictionaries whose features 0 and 1 are singular and plural, the others the words themselves; decoder rows of norm 2."""
    saes = {}
    for layer in (0, 1):
        metadata = SAEMetadata(hook_name=f"blocks.{layer}.hook_resid_post", prepend_bos=False)
        sae = StandardSAE(StandardSAEConfig(d_in=d_model, d_sae=8 + len(WORDS), metadata=metadata))
        with torch.no_grad():
            for parameter in sae.parameters():
                parameter.zero_()
            directions = torch.eye(d_model)[: 8 + len(WORDS)]
            sae.W_dec.copy_(2 * directions)
            sae.W_enc.copy_(directions.T / 2)
        saes[layer] = sae.eval()
    return saes


#: Directions that the MLPs of the chain write, from those of the nouns' numbers.
_PASSED_ON, _TO_VERBS = {SINGULAR: 120, PLURAL: 121}, {SINGULAR: 122, PLURAL: 123}
_BY_FEATURES, _BY_SKIP = 0.6, 0.4


def chain_model() -> HookedTransformer:
    """The toy model with its verbs two MLPs away: block 0 passes the noun's number on, block 1 takes it to the verbs."""
    model = toy_model()
    with torch.no_grad():
        model.unembed.W_U.zero_()
        for kind, verb in ((SINGULAR, "is"), (PLURAL, "are")):
            for block, reads, writes, size in (
                (0, kind, _PASSED_ON[kind], 1.0),
                (1, _PASSED_ON[kind], _TO_VERBS[kind], _BY_FEATURES + _BY_SKIP),
            ):
                model.blocks[block].mlp.W_in[reads, kind] = 1.0
                model.blocks[block].mlp.W_out[kind, writes] = size
            model.unembed.W_U[_TO_VERBS[kind], WORDS.index(verb)] = 1.0
    return model


def chain_dictionaries(d_model: int = 128) -> dict[str, Any]:
    """Transcoders of both MLPs, exact; features 0 and 1 are singular and plural, the others words that write where nobody reads.

    The second has a skip connection, which takes its part of the noun's number past the features.
    """
    saes = {}
    for block, reads, writes, size in (
        (0, {SINGULAR: SINGULAR, PLURAL: PLURAL}, _PASSED_ON, 1.0),
        (1, _PASSED_ON, _TO_VERBS, _BY_FEATURES),
    ):
        encoder, decoder = torch.zeros(d_model, 8 + len(WORDS)), torch.zeros(8 + len(WORDS), d_model)
        for kind in (SINGULAR, PLURAL):
            encoder[reads[kind], kind], decoder[kind, writes[kind]] = 1.0, size
        skip = torch.zeros(d_model, d_model) if block == 1 else None
        if skip is not None:
            for kind in (SINGULAR, PLURAL):
                skip[writes[kind], reads[kind]] = _BY_SKIP
        names = {"hook_name": f"blocks.{block}.mlp.hook_in", "hook_name_out": f"blocks.{block}.hook_mlp_out", "prepend_bos": False}
        kind_of = "transcoder" if skip is None else "skip_transcoder"
        bias, nothing = torch.zeros(8 + len(WORDS)), torch.zeros(d_model)
        saes[f"L{block}.tc"] = transcoder_of(kind_of, encoder, bias, decoder, nothing, skip, **names)
    return saes


def agreement(nouns: list[str] = NOUNS) -> Behavior:
    pairs = []
    for noun in nouns:
        pairs.append(PromptPair(f"the {noun}", f"the {noun}s", (" is",), (" are",), noun))
        pairs.append(PromptPair(f"the {noun}s", f"the {noun}", (" are",), (" is",), noun))
    return Behavior("agreement", "the verb follows the noun", tuple(pairs))


def random_prompts(n: int = 7, width: int = 10) -> PromptTokens:
    draw = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 50, (n, width), generator=draw)
    last = torch.tensor([width - 1 - k % 4 for k in range(n)])
    answers = torch.randint(0, 50, (2, n, 2), generator=draw)
    answers[1] = (answers[0] + 7) % 50
    answers[0, ::2, 1] = -1
    return PromptTokens(tuple(map(str, range(n))), tokens, last, answers[0], answers[1], np.arange(n))
