"""Ten plain statements: what a person types first, with the run, its method and names of the graph filled in.

They need no template and no parameters: each can be run as it stands, read and changed. docs/cypher.md and the first page of the guide are
made from them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from queries.browser.facts import Facts
from queries.browser.literals import fill, literal
from queries.errors import ParameterError

#: Edges that count as strong, in target units per source unit.
STRONG = 0.1
_EDGE = "{run: $n, method: $method}"
_MEASURED = re.compile(r"\nWHERE (abs\()?e\.\$effect[^\n]*| AND e\.\$effect IS NOT NULL")
_NAMES = re.compile(r"\$([a-z_]+)")
_LABELS = {"first": min, "last": max}


@dataclass(frozen=True)
class Statement:
    """One statement.

    Attributes:
        name: What it is called in the guide's page; unique there.
        question: What it answers.
        text: The Cypher, with ``$n``, ``$method`` and other names of :func:`_values` for what is filled in. ``$effect`` is the property
            that edges are ranked by; a condition on it is left out where that is strength, which every edge has.
        needs: Fact without which it has no answer.
    """

    name: str
    question: str
    text: str
    needs: str = ""


STATEMENTS = (
    Statement(
        "plain-feature",
        "Which feature is this, and what did the newest run see of it?",
        """MATCH (f:Feature {id: $feature, model: $model})
RETURN f.id, f.label, f.layer, f.importance, f.density, f.max_act, f.scores_run AS run""",
        "feature",
    ),
    Statement(
        "plain-strongest",
        "Which edges are the strongest?",
        f"""MATCH (s:Feature)-[e:AFFECTS {_EDGE}]->(t:Feature)
WHERE e.$effect IS NOT NULL
RETURN s.id AS source, t.id AS target, e.$effect AS $effect, e.type AS type, e.run_id AS run, s.label, t.label
ORDER BY abs(e.$effect) DESC LIMIT 20""",
    ),
    Statement(
        "plain-drives",
        "What drives a feature, and what does it drive? (drawn)",
        f"""MATCH path = (f:Feature {{id: $feature, model: $model}})-[e:AFFECTS {_EDGE}]-(:Feature)
WHERE e.$effect IS NOT NULL
RETURN path
ORDER BY abs(e.$effect) DESC LIMIT 25""",
        "feature",
    ),
    Statement(
        "plain-label",
        "What do features of a word drive?",
        f"""MATCH (s:Feature)-[e:AFFECTS {_EDGE}]->(t:Feature)
WHERE toLower(s.label) CONTAINS toLower($word) AND e.$effect IS NOT NULL
RETURN s.id AS source, s.label, e.$effect AS $effect, t.id AS target, t.label
ORDER BY abs(e.$effect) DESC LIMIT 20""",
        "word",
    ),
    Statement(
        "plain-hubs",
        "Which features drive the most others?",
        """MATCH (f:Feature)-[e:AFFECTS {run: $n, method: $method, structural: true}]->(:Feature)
WHERE abs(e.$effect) >= e.floor_computed
RETURN f.id, f.label, count(e) AS drives, sum(abs(e.$effect)) AS $effect
ORDER BY drives DESC, $effect DESC LIMIT 20""",
    ),
    Statement(
        "plain-important",
        "Which features matter most for the output?",
        """MATCH (f:Feature {model: $model}) WHERE f.scores_run = $n AND f.importance IS NOT NULL
RETURN f.id, f.layer, f.importance, f.density, f.label
ORDER BY f.importance DESC LIMIT 20""",
        "importance",
    ),
    Statement(
        "plain-inhibit",
        "Which feature inhibits one that inhibits another? (drawn)",
        """MATCH path = (:Feature)-[a:AFFECTS {run: $n, method: $method, structural: true, type: 'inhibitory'}]->(:Feature)
             -[b:AFFECTS {run: $n, method: $method, structural: true, type: 'inhibitory'}]->(:Feature)
RETURN path
ORDER BY abs(a.strength * b.strength) DESC LIMIT 10""",
    ),
    Statement(
        "plain-path",
        "Which paths of strong edges lead from the first layer to the last? (drawn)",
        """MATCH path = ANY SHORTEST (:$first)
  ((:Feature)-[e:AFFECTS WHERE e.run = $n AND e.method = $method AND e.structural AND abs(e.strength) >= $strong]->(:Feature)){1,12}
  (:$last)
RETURN path
ORDER BY reduce(product = 1.0, x IN relationships(path) | product * abs(x.strength)) DESC LIMIT 5""",
    ),
    Statement(
        "plain-behavior",
        "Which features carry a behaviour?",
        """MATCH (b:Behavior {run: $n, name: $behavior})-[s:SEEDED_BY]->(f:Feature)
RETURN s.rank AS rank, f.id, s.effect AS effect, f.label
ORDER BY rank""",
        "behavior",
    ),
    Statement(
        "plain-two-runs",
        "Where do two runs differ?",
        """MATCH (s:Feature)-[e:AFFECTS {run: $n, method: $method}]->(t:Feature)
OPTIONAL MATCH (s)-[x:AFFECTS {run: $other, method: $other_method}]->(t)
RETURN s.id AS source, t.id AS target, e.strength AS strength, x.strength AS other_strength
ORDER BY abs(e.strength - coalesce(x.strength, 0.0)) DESC LIMIT 20""",
        "other",
    ),
)


def filled(statement: Statement, facts: Facts) -> str | None:
    """The Cypher with everything filled in; None where this database cannot answer it.

    Args:
        statement: One of :data:`STATEMENTS`.
        facts: What is known of the newest run.
    """
    values = _values(facts)
    names = {name for name in _NAMES.findall(statement.text) if name not in _LABELS and name != "effect"}
    if not facts.layers or (statement.needs and not values[statement.needs]) or any(values[name] is None for name in names):
        return None
    try:
        written = {name: literal(values[name]) for name in names}
    except ParameterError:  # a behaviour or a model may have a name that cannot be written as a literal
        return None
    text = _MEASURED.sub("", statement.text) if facts.effect == "strength" else statement.text
    return fill(text, written | {"effect": facts.effect} | {name: f"Layer{of(facts.layers)}" for name, of in _LABELS.items()})


def _values(facts: Facts) -> dict[str, Any]:
    return {
        "n": facts.n,
        "method": facts.method,
        "model": facts.model,
        "feature": facts.feature,
        "word": facts.word,
        "behavior": facts.behaviors[0] if facts.behaviors else None,
        "other": facts.other_n,
        "other_method": facts.other_method,
        "importance": facts.importance,
        "strong": STRONG,
    }
