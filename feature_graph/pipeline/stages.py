"""What each stage reads, writes and depends on. Declarations only; the work is in ``work``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from feature_graph.config import OUTSIDE_HASH, Config
from feature_graph.pipeline.errors import StageError
from feature_graph.utils import sha256_json

StageName = Literal["collect", "atlas", "responses", "seeds", "candidates", "measure", "graph", "behaviors", "report"]
STAGE_NAMES: tuple[StageName, ...] = get_args(StageName)

_DICTIONARIES = frozenset({"model_name", "sae_release", "sae_id_template", "layers", "sites"})
_TEXT = frozenset({"dataset", "dataset_text_field", "dataset_split", "dataset_config", "n_tokens", "context_length", "prepend_bos"})
_LEVELS = frozenset({"clamp_high_quantile", "clamp_low", "n_intervention_samples", "min_documents"})
_TESTING = frozenset({"significance_level", "correction_method"})


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        name: How people call it.
        meaning: What it does, in a few words.
        fields: Configuration fields whose change makes the stage's artifacts another thing.
        inputs: Files of the run directory it reads.
        outputs: Files of the run directory it writes.
        sources: Configuration fields that may name local files whose content it reads.
        finishing: Those of ``fields`` that are applied to the whole, after the blocks. The part files of such a stage are kept, so that a
            change of these fields alone does not compute the blocks again.
        version: Raised when the stage computes something else from the same inputs.
        only_with: Field and value of the configuration without which the stage is left out; None: it belongs to every run.
    """

    name: StageName
    meaning: str
    fields: frozenset[str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sources: tuple[str, ...] = ()
    finishing: frozenset[str] = frozenset()
    version: int = 1
    only_with: tuple[str, object] | None = None

    def config_part(self, cfg: Config) -> dict[str, object]:
        """The values of the fields this stage depends on."""
        values = cfg.hashed()
        return {name: values[name] for name in sorted(self.fields) if name in values}

    def block_hash(self, cfg: Config) -> str:
        """Hex sha256 over the stage's version and what its part files depend on."""
        part = {name: value for name, value in self.config_part(cfg).items() if name not in self.finishing}
        return sha256_json({"version": self.version, "config": part})

    def config_hash(self, cfg: Config) -> str:
        """Hex sha256 over the stage's version and its part of the configuration."""
        return sha256_json({"version": self.version, "config": self.config_part(cfg)})


STAGES: tuple[Stage, ...] = (
    Stage(
        "collect",
        "feature activations on the text",
        _DICTIONARIES | _TEXT | {"outlier_norm", "activity_threshold", "seed", "sae_quality"},
        (),
        ("activations.h5",),
        ("model_name", "sae_release", "dataset"),
        version=2,
    ),
    Stage(
        "atlas",
        "which features are active together",
        frozenset({"layers", "layer_window", "weight_pairs", "position_horizon", "min_coactivation", "seed"}),
        ("activations.h5",),
        ("atlas.h5",),
    ),
    Stage(
        "responses",
        "what one unit of a feature does downstream",
        _DICTIONARIES | {"response_samples", "response_documents", "weight_pairs", "activity_threshold", "seed"},
        ("activations.h5",),
        ("responses.h5",),
        ("model_name", "sae_release"),
        only_with=("candidates", "responses"),
    ),
    Stage(
        "seeds",
        "the seed features of known behaviours",
        _DICTIONARIES | {"prepend_bos", "activity_threshold", "seed", "behaviors"},
        (),  # behaviours have prompts of their own: another text of the run leaves their seeds as they are
        ("seeds.json",),
        ("model_name", "sae_release"),
        only_with=("candidates", "responses"),
    ),
    Stage(
        "candidates",
        "which pairs are worth measuring",
        _DICTIONARIES
        | {"top_k_features", "layer_window", "importance_tokens", "min_coactivation", "min_decoder_alignment", "alignment"}
        | {"importance_effect", "importance_positions", "rescue_fraction", "position_horizon", "activity_threshold", "seed", "targets"}
        | {"candidates", "shortlist_pairs", "shortlist_sources", "density_range", "weight_pairs"},
        ("activations.h5", "atlas.h5", "responses.h5", "seeds.json"),
        ("candidates.parquet",),
        ("model_name", "sae_release"),
        version=3,  # places are filled with live features that were not measured, or without effect
    ),
    Stage(
        "measure",
        "causal effects by intervention",
        _DICTIONARIES
        | _LEVELS
        | _TESTING
        | {"interaction_method", "position_horizon", "min_effect", "min_effect_sd", "n_placebo", "placebo_quantile", "layer_window"}
        | {"activity_threshold", "seed", "targets", "max_edges_per_target", "sample_doublings"}
        | {"specificity_directions", "specificity_samples", "weight_pairs"},
        ("activations.h5", "responses.h5", "candidates.parquet"),
        ("features.parquet", "interactions.parquet"),
        ("model_name", "sae_release"),
        finishing=_TESTING | {"placebo_quantile", "max_edges_per_target"},
        version=4,  # 3: sources are compared with random directions; 4: direct effects hold all features between together
    ),
    Stage(
        "graph",
        "the significant edges as a graph",
        _TESTING | {"model_name"},
        ("responses.h5", "features.parquet", "interactions.parquet"),  # of the responses it keeps name and hash
        ("graph.graphml", "graph.json"),
    ),
    Stage(
        "behaviors",
        "which features known behaviours rest on",
        _DICTIONARIES | {"prepend_bos", "activity_threshold", "significance_level", "seed", "behaviors"},
        ("seeds.json", "features.parquet", "graph.json"),
        ("behaviors.json",),
        ("model_name", "sae_release"),
    ),
    Stage(
        "report",
        "report.html and its pictures",
        frozenset(Config.model_fields) - OUTSIDE_HASH,  # it shows the configuration
        ("features.parquet", "candidates.parquet", "interactions.parquet", "graph.json", "behaviors.json"),
        ("report.html",),
    ),
)


def stages_of(cfg: Config) -> tuple[Stage, ...]:
    """The stages of a run in order; files of stages that are left out are not among their inputs."""
    asked = [stage for stage in STAGES if stage.only_with is None or getattr(cfg, stage.only_with[0]) == stage.only_with[1]]
    written = {name for stage in asked for name in stage.outputs}
    return tuple(replace(stage, inputs=tuple(name for name in stage.inputs if name in written)) for stage in asked)


def stage_named(name: str) -> Stage:
    """The stage of that name.

    Raises:
        StageError: If there is none; the message lists them.
    """
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise StageError(f"stage: got {name!r}; the stages are {', '.join(STAGE_NAMES)}")
