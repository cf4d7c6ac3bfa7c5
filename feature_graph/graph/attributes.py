"""What nodes and edges of the graph carry: name, value where it is not known, meaning."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Any

KIND, VERSION = "interaction_graph", 1


@dataclass(frozen=True)
class Attribute:
    """One attribute.

    Attributes:
        name: Its name in the graph.
        column: Column of ``features.parquet`` (nodes) or ``interactions.parquet`` (edges) that it is taken from; empty if derived.
        unknown: Its value where it was not measured or no feature table was given.
        meaning: One clause for people.
    """

    name: str
    column: str
    unknown: bool | int | float | str
    meaning: str


NODE = (
    Attribute("layer", "layer", -1, "layer as the configuration names it"),
    Attribute("index", "index", -1, "index in the dictionary"),
    Attribute("label", "label", "", "top activating tokens in context"),
    Attribute("uid", "uid", "", "what the feature is, the same in every run"),
    Attribute("density", "density", nan, "share of counted tokens at which it is active"),
    Attribute("mean_act", "mean_act", nan, "mean activation where active"),
    Attribute("max_act", "max_act", nan, "largest activation"),
    Attribute("dense", "dense", False, "active at more than a fifth of the tokens"),
    Attribute("importance", "importance", nan, "frequency × causal effect on the output"),
    Attribute("neuronpedia_url", "neuronpedia_url", "", "page of the feature"),
    Attribute("family", "", "", "id of the first member of its copy family; empty if it is in none"),
)

EDGE = (
    Attribute("strength", "", 0.0, "the effect the edge stands for: total, or the first of direct and later where that did not pass"),
    Attribute("weight", "", 0.0, "|strength|"),
    Attribute("sign", "", 0, "sign of strength; 0 where the edge erases a copy"),
    Attribute("kind", "", "total", "which effect strength is: total, direct or later"),
    Attribute("structural", "", False, "no analysed site lies in between, or a direct effect that is itself significant"),
    Attribute("total", "mean_strength", nan, "total effect at the same position"),
    Attribute("direct", "direct_strength", nan, "effect that bypasses the dictionaries between"),
    Attribute("later", "later_strength", nan, "effect summed over later positions"),
    Attribute("copy", "copy_strength", nan, "part that the identity path alone gives"),
    Attribute("computed", "computed_strength", nan, "total minus copy"),
    Attribute("specific", "specific_strength", nan, "computed, without what the blocks compute from any direction there"),
    Attribute("standardised", "standardised_effect", nan, "total effect of the source's whole clamp, in the target's standard deviations"),
    Attribute("p", "p_value", nan, "raw p of the total effect"),
    Attribute("q", "q_value", nan, "adjusted p of the total effect"),
    Attribute("q_direct", "q_direct", nan, "adjusted p of the direct effect"),
    Attribute("q_later", "q_later", nan, "adjusted p of the later effect"),
    Attribute("q_computed", "q_computed", nan, "adjusted p of the computed effect"),
    Attribute("q_specific", "q_specific", nan, "adjusted p of specificity"),
    Attribute("by", "significant_by", "", "which of total, direct, later and computed passed, joined by +"),
    Attribute("type", "interaction_type", "", "excitatory, inhibitory, pass_through, attenuates_copy or erases_copy"),
    Attribute("span", "span", 1, "analysed layers crossed; 1 = the next one, 0 = within a layer"),
    Attribute("se", "se", nan, "standard error of total over documents"),
    Attribute("ci_low", "ci_low", nan, "lower end of the 95 % interval of total"),
    Attribute("ci_high", "ci_high", nan, "upper end"),
    Attribute("floor", "floor", nan, "smallest |total| that counts"),
    Attribute("floor_computed", "floor_computed", nan, "smallest |computed| and |specific| that counts"),
    Attribute("placebo", "placebo_quantile", nan, "share of placebo directions with a smaller effect"),
    Attribute("n", "n_samples", 0, "samples"),
    Attribute("n_documents", "n_documents", 0, "documents"),
    Attribute("confirm", "confirm_strength", nan, "total effect on the confirmation documents"),
    Attribute("replicated", "replicated", "", "yes, no, or empty if there were too few confirmation documents"),
    Attribute("jacobian", "strength_jacobian", nan, "mean gated derivative, where both methods were run"),
    Attribute("method", "method", "", "clamping or jacobian"),
)


def unknowns(attributes: tuple[Attribute, ...]) -> dict[str, Any]:
    """Name → value where not known."""
    return {a.name: a.unknown for a in attributes}
