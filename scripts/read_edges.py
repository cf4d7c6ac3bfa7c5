"""Lay out edges of a run for reading by hand: what docs/findings.md was read from.

    python -m scripts.read_edges RUN --effect specific --top 40
    python -m scripts.read_edges RUN --effect specific --top 20 --brief
    python -m scripts.read_edges RUN --pairs L8.tc_F998:L11.tc_F170
    python -m scripts.read_edges RUN --pairs L8.tc_F998:L11.tc_F170 --text "She came from the" --text "She saw the"

For each edge: its effects; the strongest contexts of both features, one per document, the token between « and », and before the text what
the source and the target are there; the tokens that their decoder rows promote and demote most (final norm's gain, unembedding); how often
the target is active at all, where the source is active, and where it is not although the token is one at which it can be. With ``--brief``
three contexts of each feature and nothing else. With ``--text``, what both features are at the last token of each text, in the model as it
is, BOS before each as at the beginning of a document: a change of the text is an intervention that needs no dictionary.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from feature_graph.activations import collect_activations
from feature_graph.artifacts import ActivationStore, RunPaths, read_feature_id
from feature_graph.config import Config
from feature_graph.interventions import AnalysedModel
from feature_graph.loading import load_model_and_saes

EFFECTS = ("total", "copy", "computed", "specific")
CONTEXTS, BRIEF, BEFORE, AFTER = 6, 3, 12, 4
PROMOTED = 8
PER_FEATURE = 1  # edges per source and per target, so that no hub fills the page


class EdgeReader:
    """A run's files and, loaded once, its model and dictionaries."""

    def __init__(self, run: Path, *, with_bos: bool = True) -> None:
        self.with_bos = with_bos
        paths = RunPaths.of(run)
        self.cfg = Config.load(paths.config)
        self.store = ActivationStore(paths.activations)
        self.edges: list[dict[str, Any]] = json.loads(paths.graph_json.read_text())["edges"]
        self.loaded = load_model_and_saes(self.cfg)
        self.tokenizer: Any = self.loaded[0].tokenizer

    def strongest(self, effect: str, top: int, blocks: int) -> list[dict[str, Any]]:
        """Edges by |effect|, those that passed its test."""
        passed = [e for e in self.edges if e[effect] is not None and (e.get(f"q_{effect}") or 0) <= self.cfg.significance_level]
        seen: Counter[tuple[str, str]] = Counter()
        chosen = []
        for edge in sorted(passed, key=lambda e: -abs(e[effect])):
            ends = [("from", edge["source"]), ("to", edge["target"])]
            if crossed(edge) >= blocks and max(seen[end] for end in ends) < PER_FEATURE:
                seen.update(ends)
                chosen.append(edge)
        return chosen[:top]

    def pairs(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Edges by ``source:target``."""
        by_pair = {f"{e['source']}:{e['target']}": e for e in self.edges}
        missing = [name for name in names if name not in by_pair]
        if missing:
            raise SystemExit(f"--pairs: got {missing[0]}; expected edges of this run, as source:target,…")
        return [by_pair[name] for name in names]

    def column(self, feature: str) -> NDArray[np.float32]:
        """Its activation at every row of the store."""
        found = read_feature_id(feature)
        matrix = self.store.activations[self.key(found.site_name)]
        return np.asarray(matrix[:, [found.index]].todense(), dtype=np.float32).ravel()

    def key(self, site: str) -> int:
        """The store's key of a site."""
        return next(key for key, one in self.store.sites.items() if str(one.name) == site)

    def contexts(
        self, values: NDArray[np.float32], source: NDArray[np.float32], target: NDArray[np.float32], n: int = CONTEXTS
    ) -> list[str]:
        """Where a feature is most active, one line per document: source and target there, and the text."""
        lines: dict[int, str] = {}
        for row in np.argsort(-values, kind="stable"):
            document, position = divmod(int(row), self.store.context_length)
            if values[row] <= 0 or len(lines) == n:
                break
            tokens = self.store.tokens[document]
            parts = (tokens[max(0, position - BEFORE) : position], tokens[position : position + 1], tokens[position + 1 :][:AFTER])
            text = "{}«{}»{}".format(*map(self.text, parts)).replace("\n", "↵")
            lines.setdefault(document, f"{source[row]:6.2f} {target[row]:6.2f}  {text}")
        return list(lines.values())

    def text(self, tokens: Sequence[int] | NDArray[np.int64]) -> str:
        """Tokens as text."""
        return str(self.tokenizer.decode([int(token) for token in tokens]))

    @cached_property
    def analysed(self) -> AnalysedModel:
        """Model and codecs, built once for all texts."""
        return AnalysedModel.of(*self.loaded, self.cfg, components=True)

    @cached_property
    def unembedding(self) -> torch.Tensor:
        """[d_model, vocabulary], the final norm's gain in it."""
        model: Any = self.loaded[0]
        gain = getattr(model.ln_final, "w", None)
        return model.W_U if gain is None else gain[:, None] * model.W_U

    def promoted(self, feature: str) -> str:
        """Tokens by decoder row · unembedding: the highest, the lowest."""
        found = read_feature_id(feature)
        saes: dict[Any, Any] = self.loaded[1]
        sae = saes[found.site_name if found.site_name in saes else self.key(found.site_name)]
        row = sae.W_dec[found.index].detach()
        scores = (row / row.norm()) @ self.unembedding
        ends = [scores.topk(PROMOTED, largest=largest).indices.tolist() for largest in (True, False)]
        up, down = (" ".join(repr(self.text([token])) for token in end) for end in ends)
        return f"+ {up}   − {down}"

    def rates(self, source: NDArray[np.float32], target: NDArray[np.float32]) -> str:
        """How often the target is active: at all, where the source is, where the source is not at tokens where it can be."""
        tokens, valid = self.store.tokens.ravel(), self.store.valid.ravel()
        on, hit = (source > 0) & valid, (target > 0) & valid
        same = np.isin(tokens, np.unique(tokens[on])) & valid & ~on
        share = {"at all": valid, "where the source is active": on, "at the same tokens without it": same}
        return ", ".join(f"{hit[rows].mean() if rows.any() else 0:.3f} {name}" for name, rows in share.items())

    def last(self, texts: Sequence[str], features: Sequence[str]) -> list[list[float]]:
        """[text][feature]: activation at the last token of a text."""
        model: Any = self.loaded[0]
        answers = []
        for text in texts:
            tokens = model.to_tokens(text, prepend_bos=self.with_bos)
            there = collect_activations(self.analysed, self.loaded[1], self.cfg.model_copy(update={"sae_quality": "off"}), tokens)
            columns = [there.activations[self.key(f.site_name)][:, f.index].todense() for f in map(read_feature_id, features)]
            answers.append([float(column[-1, 0]) for column in columns])
        return answers


def crossed(edge: dict[str, Any]) -> int:
    """Blocks from the source's to the target's."""
    return read_feature_id(edge["target"]).layer - read_feature_id(edge["source"]).layer


def show(reader: EdgeReader, edge: dict[str, Any], number: int, texts: Sequence[str]) -> None:
    """One edge."""
    ends = (edge["source"], edge["target"])
    effects = "  ".join(f"{name} {edge[name]:+.3f}" for name in EFFECTS if edge[name] is not None)
    print(f"\n## {number}. {ends[0]} → {ends[1]}\n{crossed(edge)} blocks  {effects}  {edge['type']}  replicated: {edge['replicated']}")
    columns = [reader.column(feature) for feature in ends]
    print(f"target active: {reader.rates(*columns)}")
    for feature, values in zip(ends, columns, strict=True):
        print(f"{feature}  active at {(values > 0).sum() / reader.store.valid.sum():.4f} of the tokens\n  {reader.promoted(feature)}")
        for line in reader.contexts(values, columns[0], columns[1]):
            print(f"  {line}")
    for text, (source, target) in zip(texts, reader.last(texts, ends), strict=True):
        print(f"  {source:6.2f} {target:6.2f}  {text}")


def show_brief(reader: EdgeReader, edge: dict[str, Any], number: int) -> None:
    """The contexts of one edge alone."""
    ends = (edge["source"], edge["target"])
    source, target = (reader.column(feature) for feature in ends)
    print(f"\n{number:2}  {ends[0]} → {ends[1]}")
    for name, values in (("source", source), ("target", target)):
        for line in reader.contexts(values, source, target, BRIEF):
            print(f"{name}  {line}")


def main() -> None:
    """Choose edges and print them."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.read_edges", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory")
    parser.add_argument("--pairs", default="", help="edges, source:target,…")
    parser.add_argument("--effect", choices=EFFECTS, default="specific", help="without --pairs: by this effect (default: specific)")
    parser.add_argument("--top", type=int, default=20, help="without --pairs: so many (default: 20)")
    parser.add_argument("--blocks", type=int, default=1, help="without --pairs: those that cross so many blocks or more (default: 1)")
    parser.add_argument("--brief", action="store_true", help="three contexts of each feature, and nothing else")
    parser.add_argument("--text", action="append", default=[], help="a text to ask at its last token; repeatable")
    parser.add_argument("--no-bos", action="store_true", help="put no BOS before a text, as in most contexts of a run without it")
    options = parser.parse_args()
    reader = EdgeReader(options.run, with_bos=not options.no_bos)
    edges = reader.pairs(options.pairs.split(",")) if options.pairs else reader.strongest(options.effect, options.top, options.blocks)
    for number, edge in enumerate(edges, 1):
        if options.brief:
            show_brief(reader, edge, number)
        else:
            show(reader, edge, number, options.text)


if __name__ == "__main__":
    main()
