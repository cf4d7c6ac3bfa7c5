"""Questions to the graph: one ``.cypher`` file each, with checked parameters.

from queries import names, run, text

names()                                        # what can be asked
text("hubs")                                   # the Cypher, as it is run
run(driver, "hubs", measure="pagerank").records

Public module in addition to this face: ``signs``, whether an edge excites, inhibits, or takes from a copy, in Cypher.
"""

from queries.check import Checked, check, example_run
from queries.connection import Answer
from queries.custom import ask, explain
from queries.effects import choose_effect, find_effect
from queries.errors import (
    DecodersMissing,
    GdsMissing,
    OldSchema,
    ParameterError,
    QueryError,
    QueryTimeout,
    QueryTooLarge,
    TemplateError,
    TooDeep,
)
from queries.gds import gds_failure
from queries.library import names, template, templates, text
from queries.methods import choose_method, choose_other_method
from queries.runner import run
from queries.template import EFFECTS, Parameter, Template
from queries.which import find_run

__all__ = [
    "EFFECTS",
    "Answer",
    "Checked",
    "DecodersMissing",
    "GdsMissing",
    "OldSchema",
    "Parameter",
    "ParameterError",
    "QueryError",
    "QueryTimeout",
    "QueryTooLarge",
    "Template",
    "TemplateError",
    "TooDeep",
    "ask",
    "check",
    "choose_effect",
    "choose_method",
    "choose_other_method",
    "example_run",
    "explain",
    "find_effect",
    "find_run",
    "gds_failure",
    "names",
    "run",
    "template",
    "templates",
    "text",
]
