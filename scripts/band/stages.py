"""The stages of a training; each leaves files and does nothing where they are."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from feature_graph.bundled import release_folder
from feature_graph.config import BUNDLED_SAES
from feature_graph.dictionaries import SiteCodec, build_site_codecs
from feature_graph.interventions import read_at
from feature_graph.loading.bundled import load_bundled_model
from feature_graph.utils import derived_seed, whole_file, write_json
from scripts.band import publishing, recording, texts, training
from scripts.band.arrivals import Arrivals, CleanText, EarlierDictionary
from scripts.band.controls import linear_controls
from scripts.band.directions import MlpDerivative, ResponseSamples
from scripts.band.duplicates import merged
from scripts.band.measuring import measure_texts
from scripts.band.recording import MlpTokens
from scripts.band.responses import explained_variance, response_figures
from scripts.band.settings import BandSettings
from scripts.band.shares import part_shares
from scripts.band.tables import tables
from scripts.train_bundled_saes import hook_name

log = logging.getLogger("feature_graph.band")
#: Layers of the residual SAEs whose features send directions into the band.
RESIDUAL = (3, 7)
_ARRIVALS = 6_000
_LEFT_OUT = 6_000
_JUDGED = 8
#: Shares of the kinds of direction in what judges a training, whatever it was trained on.
_JUDGED_BY = {"decoders": 0.5, "arrivals": 0.25, "random": 0.25}
#: Derivatives that the controls are fitted on: with 8,192 a map of 576 × 576 fits its own sample.
_CONTROL = 49_152
#: Text whose figures a published transcoder states: that of the shipped configurations.
STATED = "speeches"


def residual_saes() -> dict[str, Any]:
    """The bundled SAEs before the band, by the name of their site."""
    from sae_lens import SAE

    return {f"L{layer}": SAE.load_from_disk(release_folder(BUNDLED_SAES) / hook_name(layer), device="cpu").eval() for layer in RESIDUAL}


@dataclass(frozen=True)
class Work:
    """One training.

    Attributes:
        folder: Of texts and recordings, which trainings share.
        settings: What decides the result.
        blocks: Blocks to train, publish or measure now, out of those that are recorded.
        tag: Name of this training.
        earlier: Name of the training whose earlier blocks send directions.
        load: Loads the model.
        before: Loads the SAEs before the band, by the name of their site.
    """

    folder: Path
    settings: BandSettings
    blocks: tuple[int, ...]
    tag: str
    earlier: str
    load: Callable[[], Any] = load_bundled_model
    before: Callable[[], Mapping[str, Any]] = residual_saes
    _codecs: dict[str, SiteCodec] = field(default_factory=dict, compare=False)

    @cached_property
    def model(self) -> Any:
        """The model whose MLPs are transcoded."""
        return self.load()

    @cached_property
    def clean(self) -> CleanText:
        """The clean run over some of the training rows."""
        rows = texts.training_rows(self.settings, self.folder)[: self.settings.arrival_rows]
        sites = [read_at(one.codec.site, int(self.model.cfg.n_layers)) for one in self.sources(self.settings.blocks[0])]
        return CleanText(self.model, rows, sites, self.settings.blocks)

    def sources(self, block: int) -> list[EarlierDictionary]:
        """Dictionaries before a block: residual SAEs, and the transcoders of earlier blocks."""
        found = [EarlierDictionary(f"residual-{name}", self.codec(name, sae)) for name, sae in self.before().items()]
        for earlier in (one for one in self.settings.blocks if one < block):
            trained = publishing.transcoder_of(self.trained(earlier, self.earlier), earlier, self.settings.context)
            found.append(EarlierDictionary(f"{self.earlier}-{earlier}", self.codec(f"L{earlier}.tc", trained)))
        return found

    def codec(self, name: str, dictionary: Any) -> SiteCodec:
        """A dictionary folded, and compared with the model on a few rows."""
        if name not in self._codecs:
            rows = texts.training_rows(self.settings, self.folder)[:_JUDGED]
            self._codecs.update(build_site_codecs(self.model, {name: dictionary}, torch.as_tensor(rows, dtype=torch.long)))
        return self._codecs[name]

    def trained(self, block: int, tag: str | None = None) -> Path:
        """Folder of a trained transcoder."""
        return self.folder / "trained" / (tag or self.tag) / str(block)

    @property
    def published(self) -> Path:
        """Folder of the published ones."""
        return self.folder / "published" / self.tag


def sample(work: Work) -> None:
    """Rows of the model's own writing."""
    texts.sample(work.settings, work.folder, "cpu")


def record(work: Work) -> None:
    """Inputs and outputs of the MLPs."""
    rows = texts.training_rows(work.settings, work.folder)
    if recording.read_state(work.folder)["rows"] < len(rows):
        recording.record(work.model, rows, work.settings.blocks, work.folder)


def train(work: Work) -> None:
    """One block after the other."""
    for block in work.blocks:
        if not (work.trained(block) / "record.json").exists():
            _train(work, block)


@dataclass(frozen=True)
class _Prepared:
    """What a block is trained and checked on."""

    trainer: training.BandTrainer
    left_out: MlpTokens
    held: dict[str, ResponseSamples]


def _prepare(work: Work, block: int) -> _Prepared:
    mlp, sources = MlpDerivative.of(work.model, block), work.sources(block)
    arrived = [_arrivals(work, source, block) for source in sources]
    train_on, left_out = _parted(recording.recorded(work.folder, block, int(work.model.cfg.d_model)))
    decoders = [source.codec.w_dec for source in sources]
    trained, others = (training.Directions.of(decoders, arrived, evaluation=evaluation) for evaluation in (False, True))
    held = others.draw(mlp, left_out, 2 * len(left_out) // 3, _JUDGED_BY, torch.Generator().manual_seed(1))
    return _Prepared(training.BandTrainer(work.settings, block, train_on, mlp, trained), left_out, held)


def _train(work: Work, block: int) -> None:
    begun = time.monotonic()
    prepared = _prepare(work, block)
    trainer, ready = prepared.trainer, time.monotonic()
    made = trainer.run()
    record: dict[str, Any] = {"seconds_before": round(ready - begun, 1), "seconds": round(time.monotonic() - ready, 1)}
    weights, record["merged"] = merged(made.in_units_of_the_model(trainer.scale))
    training.save_weights(work.trained(block), weights)
    record |= _checked(work, block, prepared.left_out, prepared.held)
    training.save_record(work.trained(block), work.settings, record)
    log.info("block %d: %s", block, record)


def controls(work: Work) -> None:
    """What linear maps alone explain of each block, beside what its transcoder does: ``controls.json`` in its folder."""
    for block in work.blocks:
        path = work.trained(block) / "controls.json"
        if not path.exists():
            prepared = _prepare(work, block)
            write_json(path, _plain(_controls(prepared.trainer, prepared.left_out, prepared.held)))


def _parted(tokens: MlpTokens) -> tuple[MlpTokens, MlpTokens]:
    """What is trained on, and the last recorded tokens (one in ten where there are few), which only check it."""
    n = len(tokens) - min(_LEFT_OUT, len(tokens) // 10)
    last = tokens.take(torch.arange(n, len(tokens)))
    return MlpTokens(tokens.x[:n], tokens.y[:n], tokens.s[:n]), last.take(recording.usual(last))


def _checked(work: Work, block: int, tokens: MlpTokens, samples: dict[str, ResponseSamples]) -> dict[str, Any]:
    """Figures on recorded tokens that were left out, along directions that were left out."""
    site = f"L{block}.tc"
    work._codecs.pop(site, None)  # of another training
    codec = work.codec(site, publishing.transcoder_of(work.trained(block), block, work.settings.context))
    acts = codec.record(tokens.x)
    return {
        "explained_variance": explained_variance(codec.reconstruct(tokens.x), tokens.y),
        "l0": float((acts > 0).sum(1).float().mean()),
        "dead": float((~(acts > 0).any(0)).float().mean()),
        "tokens": len(tokens),
        "responses": _plain(response_figures(codec, samples)),
    }


def _controls(trainer: training.BandTrainer, tokens: MlpTokens, samples: dict[str, ResponseSamples]) -> dict[str, Any]:
    """The controls without features, fitted on tokens that are trained on."""
    some = trainer.tokens.take(trainer.kept[torch.randperm(len(trainer.kept), generator=trainer.generator)[:_CONTROL]])
    drawn = trainer.directions.draw(trainer.mlp, some, _CONTROL, trainer.settings.shares, trainer.generator)
    return linear_controls(some, drawn, tokens, samples)


def _plain(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: asdict(one) for name, one in figures.items()}


def _arrivals(work: Work, source: EarlierDictionary, block: int) -> Arrivals:
    """What arrives at a block of a source's features; made for all later blocks at once, and kept."""
    path = _arrivals_file(work, source, block)
    if not path.exists():
        found = work.clean.arrivals(source, _ARRIVALS, derived_seed(work.settings.text_seed, "arrivals", source.name))
        for later, one in found.items():
            with whole_file(_arrivals_file(work, source, later)) as temporary:
                save_file({name: getattr(one, name).contiguous() for name in ("x", "dx", "features")}, temporary)
    return Arrivals(**load_file(path))


def _arrivals_file(work: Work, source: EarlierDictionary, block: int) -> Path:
    return work.folder / f"arrivals-{source.name}-{block}.safetensors"


def publish(work: Work) -> None:
    """SAELens' layout, float16; figures of what was published before are of other weights."""
    _metrics(work).unlink(missing_ok=True)
    publishing.publish(replace(work.settings, blocks=work.blocks), work.folder / "trained" / work.tag, work.published)


def measure(work: Work) -> None:
    """Figures of the published files on held-out text of each register, into ``metrics.json`` beside them."""
    transcoders = {f"L{block}.tc": publishing.load_published(work.published, block) for block in work.blocks}
    rows = texts.heldout_rows(work.settings, work.folder, work.settings.measured_rows)
    path = _metrics(work)
    for text, some in rows.items():
        measure_texts(work.model, dict(work.before()), transcoders, {text: some}, path)
        found = json.loads(path.read_text())
        if text not in found.setdefault("shares", {}):
            found["shares"][text] = _shares(work, transcoders, some)
            write_json(path, found)
    for block in work.blocks:
        publishing.state_figures(work.published, block, found["texts"][STATED][f"L{block}.tc"])
    print(tables(path))


def _metrics(work: Work) -> Path:
    return work.published / "metrics.json"


def _shares(work: Work, transcoders: Mapping[str, Any], rows: NDArray[np.int32]) -> dict[str, Any]:
    codecs = build_site_codecs(work.model, dict(transcoders), torch.as_tensor(rows[:_JUDGED], dtype=torch.long))
    by_block = {codec.site.layer: codec for codec in codecs.values()}
    return part_shares(CleanText(work.model, rows, [], tuple(by_block)), by_block, work.settings.seed)
