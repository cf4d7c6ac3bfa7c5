"""The configuration of a run: each field, its default, and under it a sentence on what it means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from feature_graph.utils import sha256_json, whole_file
from ingest.site_kinds import SiteKind

BUNDLED_MODEL = "bundled:smollm2-135m-instruct"
BUNDLED_SAES = "bundled:smollm2-135m-instruct-res"
BUNDLED_LAYERS = (3, 7, 11, 15, 19, 23, 27)
BUNDLED_TRANSCODERS = "bundled:smollm2-135m-instruct-tc"
BUNDLED_BAND = tuple(range(8, 16))

#: Fields that change how fast or where a run works, never what it finds.
OUTSIDE_HASH = frozenset({"device", "batch_size", "output_dir"})

#: Fields added after runs had been hashed: they count where they are set.
LATER = frozenset(
    {"sites", "dataset_config", "response_samples", "response_documents", "candidates", "shortlist_pairs", "density_range"}
    | {"min_effect_sd", "sample_doublings", "specificity_directions", "specificity_samples", "shortlist_sources"}
    | {"weight_pairs"}
)

CorrectionMethod = Literal[
    "bonferroni", "sidak", "holm-sidak", "holm", "simes-hochberg", "hommel", "fdr_bh", "fdr_by", "fdr_tsbh", "fdr_tsbky"
]


class ConfigError(ValueError):
    """A configuration that cannot be run; the message names the field, what was got and what is allowed."""

    exit_code: ClassVar[int] = 2


class SiteConfig(BaseModel):
    """One dictionary of a run, for :attr:`Config.sites`. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), frozen=True)

    layer: int = Field(ge=0)
    """Block that the dictionary belongs to; results call it the layer."""
    kind: SiteKind = "residual"
    """What it reads and writes: the residual stream after or before the block (``residual``) or between attention and MLP (``resid_mid``),
    what the MLP or attention adds to the stream (``mlp_out``, ``attn_out``), the heads' outputs before W_O (``hook_z``), what the MLP reads
    (``mlp_in``); ``transcoder``: from the MLP's input to its output."""
    release: str | None = None
    """Release of this dictionary, in any form that ``sae_release`` takes. ``None``: ``sae_release``. Only loading uses it."""
    id: str | None = None
    """Its id (or folder) within the release; ``{layer}`` is replaced. ``None``: made by ``sae_id_template``. Only loading uses it."""

    @model_serializer(mode="wrap")
    def _without_the_usual_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As it was before there were other kinds, so that files and hashes of residual runs stay."""
        values: dict[str, Any] = handler(self)
        return values if self.kind != "residual" else {name: value for name, value in values.items() if name != "kind"}


class Config(BaseModel):
    """Everything a run depends on. Unknown keys are refused.

    Raises:
        ConfigError: From :meth:`load`, if the file cannot be read as a configuration.
        pydantic.ValidationError: From the constructor (a ``ValueError``), naming each field that is wrong.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=(), validate_default=True)

    # --- model and dictionaries ---
    model_name: str = BUNDLED_MODEL
    """A TransformerLens model name, a local folder in transformers' format, or the bundled model."""
    sae_release: str = BUNDLED_SAES
    """A SAELens release, a local folder with one sub-folder per SAE (files of SAELens, sparsify, dictionary_learning, circuit-tracer or
    Gemma Scope), a repository ``owner/name`` of the model hub, or the bundled SAEs."""
    sae_id_template: str = "blocks.{layer}.hook_resid_post"
    """Id of each SAE within the release; ``{layer}`` is replaced. Where the release has only another id for the same tensor, that one is
    used."""
    layers: list[int] = Field(default_factory=lambda: list(BUNDLED_LAYERS))
    """Layers to analyse, one SAE each, kept in ascending order; at least two. Negative numbers and duplicates are refused. With ``sites``,
    they follow from the sites, and one layer with several dictionaries is enough."""
    sites: list[SiteConfig] | None = None
    """The dictionaries one by one, each as ``{layer, kind, release, id}``: for ids that follow no template or come from several releases,
    and for dictionaries on components, of which a layer can have several, one of each kind. Their layers are then the run's ``layers``,
    which need not be given. ``None``: for each of ``layers`` one SAE of ``sae_release``, named by ``sae_id_template``."""
    device: str = "cpu"
    """Torch device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto``, which takes a GPU if there is one."""
    sae_quality: Literal["stop", "warn", "off"] = "stop"
    """What to do when an SAE explains less than half of the variance on the run's text: stop the run, warn, or do not measure it. A
    dictionary on a component only causes a warning then, unless it does no better than the mean, which stops the run."""

    # --- text ---
    dataset: str = "builtin:sotu"
    """The text: ``builtin:sotu``, a file (.txt, .jsonl, .json, .csv, .tsv, .parquet, .arrow; text files also compressed), a folder, or the
    id of a dataset of the hub."""
    dataset_text_field: str = "text"
    """Column that holds text, token ids (``input_ids``, used as they are) or chat ``messages``. Not used for .txt files."""
    dataset_split: str = "train"
    """Split, or a slice of one such as ``train[:1000]``, of a dataset in one of the hub's layouts."""
    dataset_config: str | None = None
    """Configuration of a dataset that has several, such as ``wikitext-2-raw-v1``. ``None``: the only one, or the one called ``default``."""
    n_tokens: int = Field(40_000, ge=16)
    """Tokens of text to collect, rounded up to whole contexts; BOS, separators and padding do not count."""
    context_length: int = Field(128, ge=4)
    """Tokens per context. A context is a window of one text, or several shorter texts, each preceded by BOS (by EOS if there is no BOS)."""
    batch_size: int = Field(8, ge=1)
    """Contexts per forward pass. Changes speed and memory only."""
    prepend_bos: bool | None = None
    """Whether each context begins with BOS. ``None``: as the SAEs were trained; no when ``tokens=`` is given."""
    outlier_norm: float | None = Field(10.0, gt=1)
    """Tokens whose residual norm is above this many times the median of the site, at any site, are left out as BOS is. ``None``: no token
    is left out for its norm."""
    activity_threshold: float | None = Field(None, ge=0)
    """A feature is *active* above this activation. ``None``: 1e-6 × mean residual norm × ‖w_enc‖ for each feature, and 0 for JumpReLU."""

    # --- choosing candidates ---
    candidates: Literal["pruning", "responses"] = "pruning"
    """How the pairs to measure are chosen: by importance, co-activation and alignment (``pruning``), or from all features by their response
    vectors (``responses``). Shipped configurations that choose have ``responses``, except ``gpt2-small``."""
    shortlist_pairs: int = Field(30_000, ge=1)
    """With ``candidates: responses``, how many pairs are chosen: a third by the magnitude of their specific effect, a third by their
    computed and a third by their total effect, in equal numbers for each pair of sites inside the window."""
    shortlist_sources: int | None = Field(None, ge=1)
    """With ``candidates: responses``, only pairs of this many sources per site are chosen, those with the largest specific effects. The
    time that measuring takes grows with the number of sources. ``None``: any feature can be a source."""
    density_range: tuple[float, float] | None = None
    """Features that are active at a smaller or larger share of the select tokens than this are not chosen as candidates; they can still be
    asked for. ``None``: all can be chosen."""
    top_k_features: int = Field(100, ge=1)
    """With ``candidates: pruning``, features kept per layer, ranked by frequency × causal effect on the output."""
    layer_window: int = Field(2, ge=1)
    """How many analysed layers downstream of its source a target may lie (1: only the next one). Counts analysed layers, not blocks; pairs
    inside a block count as 0."""
    weight_pairs: bool = False
    """Whether pairs take part between which nothing is computed: what an MLP or a transcoder (in blocks whose two parts run in
    parallel also attention) writes, and a dictionary that reads the residual stream right after the same block. Their effects are a fixed
    weight, read through the target's gate; without this field such pairs are refused where they are asked for."""
    importance_tokens: int = Field(4_096, ge=1)
    """Importance is measured on at most this many tokens of the select documents."""
    importance_effect: Literal["auto", "loss", "output"] = "auto"
    """What counts as a feature's effect on the output: the change of the next-token loss, or the change of the output itself (half the
    variance of the change of the logits under the model's distribution; the absolute change where there is one output). ``auto``: the loss
    where the model has as many outputs as tokens, otherwise the output."""
    importance_positions: Literal["all", "last"] = "all"
    """Positions whose output counts with ``importance_effect: output``: all counted positions, or only the last of each context, for models
    that answer there."""
    min_coactivation: int = Field(10, ge=0)
    """Pairs active together less often than this, counted at the same position and up to ``position_horizon`` positions later, are
    removed."""
    min_decoder_alignment: float = Field(0.005, ge=0, le=1)
    """Pairs of adjacent sites whose mean absolute alignment is below this are removed."""
    alignment: Literal["block", "cosine", "off"] = "block"
    """How the alignment of adjacent pairs is computed: through the Jacobian of the blocks in between, as a plain cosine, or not at all."""
    rescue_fraction: float = Field(0.05, ge=0, le=1)
    """Share of the removed pairs that is measured all the same: those with the largest Jacobians, and random ones."""

    # --- responses ---
    response_samples: int = Field(25, ge=2)
    """At how many tokens of the select documents the response of each source is measured; they are taken from distinct documents first."""
    response_documents: int = Field(6, ge=2)
    """A source that is active in fewer select documents than this has no response."""

    # --- measuring ---
    interaction_method: Literal["clamping", "jacobian", "both"] = "clamping"
    """How effects are measured: finite differences under a clamp, the gated derivative at the clean point, or both."""
    targets: Literal["candidates", "all"] = "candidates"
    """What is measured: the chosen candidate pairs (``candidates``), or the effect of every feature that can be clamped on every feature of
    its window (``all``). With ``all`` there is no candidate list, and the fields under "Choosing candidates" are not used, except
    ``layer_window`` and ``weight_pairs``."""
    max_edges_per_target: int | None = Field(None, ge=1)
    """With ``targets: all``, only this many significant edges into a feature are kept, the strongest. ``None``: all are kept."""
    n_intervention_samples: int = Field(30, ge=2)
    """Test samples per source, taken from distinct documents first."""
    sample_doublings: int = Field(0, ge=0, le=12)
    """How many times the number of samples of a source may be doubled if its effects vary so much that they would be missed otherwise. To
    find out, the pairs are first measured on the select documents; with 0 that is left out. Not used with ``targets: all``."""
    clamp_high_quantile: float = Field(0.9, gt=0, le=1)
    """The high level of the clamp: this quantile of the source's active values on the select documents."""
    clamp_low: float = Field(0.0, ge=0)
    """The low level of the clamp, in activation units."""
    position_horizon: int = Field(4, ge=0)
    """Number of later positions whose change is summed into ``later_strength``."""
    min_documents: int = Field(6, ge=2)
    """A source that is active in fewer test documents than this is left out, and counted as such."""
    min_effect: float = Field(0.01, ge=0)
    """Smallest effect that counts, in target units per source unit: what is tested is whether an effect is larger than this."""
    min_effect_sd: float | None = Field(None, gt=0)
    """Smallest effect that counts, as the change of the target under the whole clamp, in its standard deviations over counted tokens. If it
    is given, it takes the place of ``min_effect``."""
    n_placebo: int = Field(0, ge=0)
    """Random isotropic directions per source site that are clamped like features, to set floors below which nothing counts, in addition to
    the smallest effect. Earlier versions had 32 (and tested against 0). A floor leaves out computed effects where the model is narrow or a
    target has many drivers; 0 sets none."""
    placebo_quantile: float = Field(0.99, gt=0, lt=1)
    """Quantile of the placebos' |strength| that an edge must exceed, with ``n_placebo`` above 0."""
    specificity_directions: int = Field(16, ge=0)
    """Random directions per source, carried at the source's own tokens: they show how large an effect any direction has there. With 0,
    specificity is not measured."""
    specificity_samples: int = Field(12, ge=2)
    """At how many of its test samples a source is compared with random directions; they are taken from distinct documents first."""

    # --- testing ---
    significance_level: float = Field(0.05, gt=0, lt=1)
    """A pair becomes an edge if the adjusted p-value of one of its effects is below this level, which lies strictly between 0 and 1."""
    correction_method: CorrectionMethod = "fdr_bh"
    """Correction for multiple tests, by its name in statsmodels. With those that begin with ``fdr_``, pairs are chosen first, by all their
    effects, and then the effects of the chosen pairs are tested; with the others, all effects of all pairs are one family."""

    # --- behaviours ---
    behaviors: list[str] = ["factual_recall", "indirect_object", "greater_than", "subject_verb_agreement"]
    """Behaviours whose features are looked for: names of those that come with the library, or paths of YAML files. Eight come with the
    library; four are the default, to save time. With ``candidates: responses`` their seed features are among the candidates."""

    # --- the run itself ---
    output_dir: str = "outputs/run"
    """The run directory: every file of the run goes there."""
    seed: int = Field(42, ge=0)
    """Seed of every random choice. The same seed gives the same result."""

    @model_validator(mode="before")
    @classmethod
    def _layers_of_sites(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("sites") and "layers" not in values:
            layers = [site.layer if isinstance(site, SiteConfig) else site.get("layer") for site in values["sites"] if _is_site(site)]
            return {**values, "layers": list(dict.fromkeys(layers))}
        return values

    @field_validator("sae_quality", "alignment", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        """YAML reads a bare ``off`` as false."""
        return "off" if value is False else value

    @field_validator("sites")
    @classmethod
    def _sorted_sites(cls, sites: list[SiteConfig] | None) -> list[SiteConfig] | None:
        if sites is None:
            return None
        named = [(site.layer, site.kind) for site in sites]
        twice = [f"two of the kind {kind} on layer {layer}" for layer, kind in dict.fromkeys(named) if named.count((layer, kind)) > 1]
        if twice:
            raise ValueError(f"got {', '.join(twice)}; each layer may have one dictionary of a kind")
        return sorted(sites, key=lambda site: (site.layer, get_args(SiteKind).index(site.kind)))

    @field_validator("layers")
    @classmethod
    def _sorted_layers(cls, layers: list[int]) -> list[int]:
        if any(layer < 0 for layer in layers):
            raise ValueError(f"got {layers}; layers are block numbers from 0")
        if len(set(layers)) != len(layers):
            raise ValueError(f"got {layers}; each layer may be named once")
        return sorted(layers)

    @field_validator("sae_id_template")
    @classmethod
    def _has_layer(cls, template: str) -> str:
        if "{layer}" not in template:
            raise ValueError(f"got {template!r}; the template must contain {{layer}}, such as 'blocks.{{layer}}.hook_resid_post'")
        try:
            template.format(layer=0)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(f"got {template!r}; only {{layer}} is replaced, write other braces twice ({error})") from error
        return template

    @field_validator("density_range")
    @classmethod
    def _range_of_shares(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 <= value[0] < value[1] <= 1:
            raise ValueError(f"got {list(value)}; a range of shares is [low, high] with 0 <= low < high <= 1")
        return value

    @field_validator("output_dir", mode="before")
    @classmethod
    def _path_to_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, Path) else value

    @model_validator(mode="after")
    def _clashes(self) -> Self:
        if self.position_horizon >= self.context_length:
            raise ValueError(f"position_horizon: got {self.position_horizon}, must be below context_length = {self.context_length}")
        if self.candidates == "responses" and self.response_documents > self.response_samples:
            raise ValueError(
                f"response_documents: got {self.response_documents}, must not be above response_samples = {self.response_samples}, "
                "since a source has no more documents than samples"
            )
        if self.has_components:
            self._refuse_with_components()
        if self.specificity_directions == 1:
            raise ValueError("specificity_directions: got 1; expected 0 (not measured) or at least 2, since one direction has no spread")
        if len(self.sites or self.layers) < 2:
            raise ValueError(f"layers: got {self.layers}; expected at least 2, or several dictionaries of one under sites")
        if self.sites is not None and (named := sorted({site.layer for site in self.sites})) != self.layers:
            raise ValueError(
                f"layers and sites: got layers = {self.layers} and sites on layers {named}; "
                "with sites, leave layers out or name the same ones"
            )
        return self

    def _refuse_with_components(self) -> None:
        if self.interaction_method != "clamping":
            kinds = ", ".join(dict.fromkeys(site.kind for site in self.sites or () if site.kind != "residual"))
            raise ValueError(
                f"interaction_method: got {self.interaction_method}, expected clamping: with dictionaries on components (sites has "
                f"{kinds}) direct and later effects are not measured by derivatives. Derivatives at the same position are in responses.h5 "
                "(candidates: responses), which feature_graph.responses.ResponseScreen reads"
            )

    @property
    def has_components(self) -> bool:
        """Whether a dictionary sits elsewhere than on the residual stream before or after a block."""
        return any(site.kind != "residual" for site in self.sites or ())

    @property
    def releases(self) -> list[str]:
        """Every release that dictionaries are loaded from, each once."""
        named = [site.release or self.sae_release for site in self.sites] if self.sites is not None else [self.sae_release]
        return list(dict.fromkeys(named))

    def sae_id(self, layer: int, kind: SiteKind = "residual") -> str:
        """Id of a site's dictionary within its release, as asked: its own, or by ``sae_id_template``."""
        named = next((site.id for site in self.sites or () if (site.layer, site.kind) == (layer, kind)), None)
        return named.replace("{layer}", str(layer)) if named else self.sae_id_template.format(layer=layer)

    @property
    def layer_pairs(self) -> list[tuple[int, int]]:
        """Ordered (source, target) layers inside the window, nearest first within a source.

        Pairs of sites, where a layer has several: :func:`feature_graph.artifacts.pairs_in_window`.
        """
        n = len(self.layers)
        return [(self.layers[i], self.layers[j]) for i in range(n) for j in range(i + 1, min(i + self.layer_window, n - 1) + 1)]

    def span(self, source: int, target: int) -> int:
        """Analysed layers crossed from the source layer to the target layer (1 = the next one)."""
        return self.layers.index(target) - self.layers.index(source)

    def check_layers(self, n_layers: int) -> None:
        """Refuse layers that the model does not have.

        Raises:
            ConfigError: Naming the layers out of range.
        """
        wrong = [layer for layer in self.layers if layer >= n_layers]
        if wrong:
            raise ConfigError(f"layers: got {wrong}; {self.model_name} has layers 0 to {n_layers - 1}")

    def digest(self, fields: frozenset[str] | set[str] | None = None) -> str:
        """Hex sha256 over the fields that decide a result (all of them, or those given)."""
        values = self.hashed()
        return sha256_json({k: v for k, v in values.items() if fields is None or k in fields})

    def hashed(self) -> dict[str, Any]:
        """The values that decide a result, plain. Fields of :data:`LATER` are left out at their default, so that old hashes stay."""
        values = self.model_dump(mode="json", exclude=set(OUTSIDE_HASH))
        return {k: v for k, v in values.items() if k not in LATER or v != type(self).model_fields[k].default}

    def save(self, path: str | Path) -> None:
        """Write the configuration; the ending (.json, .yaml, .yml) chooses the format. Folders are made."""
        path = Path(path)
        values = self.model_dump(mode="json")
        if path.suffix not in {".json", ".yaml", ".yml"}:
            raise ConfigError(f"path: got {path.name!r}; a configuration ends in .json, .yaml or .yml")
        text = json.dumps(values, indent=2) + "\n" if path.suffix == ".json" else yaml.safe_dump(values, sort_keys=False)
        with whole_file(path) as part:
            part.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a configuration from JSON or YAML.

        Raises:
            ConfigError: If the file is missing, is not JSON or YAML, or a field is unknown or wrong.
        """
        path = Path(path)
        if not path.is_file():
            raise ConfigError(f"no configuration at {path}; the shipped ones are listed by `feature-graph run --list`")
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is neither JSON nor YAML: {error}") from error
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: got {type(values).__name__}; a configuration is a mapping of field to value")
        try:
            return cls(**values)
        except ValidationError as error:
            unknown = [str(e["loc"][0]) for e in error.errors() if e["type"] == "extra_forbidden"]
            if unknown and (path.parent / "interactions.parquet").is_file() and not (path.parent / "activations.h5").exists():
                raise ConfigError(
                    f"{path.parent}: this run was written by another program (its config.json has {', '.join(unknown)}, and there is no "
                    "activations.h5), so there is no model or text to go on with; report, analyze, motifs, ingest and query can read it"
                ) from error
            raise ConfigError(f"{path}:\n{explain(error)}") from error


def _is_site(value: Any) -> bool:
    return isinstance(value, SiteConfig) or (isinstance(value, dict) and "layer" in value)


def explain(error: ValidationError) -> str:
    """One line per wrong field: its name, what is allowed, what was got; near names for unknown keys."""
    from difflib import get_close_matches

    lines = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"]) or "configuration"
        if item["type"] == "extra_forbidden":
            near = get_close_matches(name, Config.model_fields, n=1)
            lines.append(f"  {name}: unknown field" + (f"; did you mean {near[0]}?" if near else ""))
        else:
            got = f" (got {item['input']!r})" if name != "configuration" else ""
            hint = f"; a list is written [{item['input']}]" if item["type"] == "list_type" and isinstance(item["input"], str | int) else ""
            lines.append(f"  {name}: {item['msg'].removeprefix('Value error, ')}{got}{hint}")
    return "\n".join(lines)
