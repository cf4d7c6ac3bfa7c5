"""Questions to the graph: one ``.cypher`` file each, with checked parameters.

from queries import names, run, text

names()                                        # what can be asked
text("hubs")                                   # the Cypher, as it is run
run(driver, "hubs", measure="pagerank").records
"""

from queries.check import Checked, check, example_run
from queries.connection import Answer
from queries.errors import DecodersMissing, GdsMissing, ParameterError, QueryError, QueryTimeout, QueryTooLarge, TemplateError, TooDeep
from queries.library import names, template, templates, text
from queries.own import ask, explain
from queries.runner import find_run, run
from queries.template import Parameter, Template

__all__ = [
    "Answer",
    "Checked",
    "DecodersMissing",
    "GdsMissing",
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
    "example_run",
    "explain",
    "find_run",
    "names",
    "run",
    "template",
    "templates",
    "text",
]
