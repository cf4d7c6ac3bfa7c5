"""What can go wrong with a question; every message says what was got, what is allowed and what to do."""

from __future__ import annotations

from typing import ClassVar


class QueryError(ValueError):
    """A question that cannot be asked like this."""

    exit_code: ClassVar[int] = 1


class TemplateError(QueryError):
    """A template file that breaks the rules of its format."""


class UnknownTemplate(QueryError):
    """There is no question of that name."""

    exit_code: ClassVar[int] = 2


class ParameterError(QueryError):
    """A parameter that is unknown, missing, of another type, or out of its bounds."""

    exit_code: ClassVar[int] = 2


class OldSchema(QueryError):
    """The database was not brought to the schema that the questions are asked of."""


class QueryTimeout(QueryError):
    """The database gave no answer in the time allowed."""


class QueryTooLarge(QueryError):
    """The database has too little memory for the answer."""


class TooDeep(QueryError):
    """The run has longer paths than the template follows; the message names the call in Python that follows them all."""


class GdsMissing(QueryError):
    """The question needs the Graph Data Science library, which the server does not have."""


class DecodersMissing(QueryError):
    """The question needs decoder vectors, and the run was loaded without."""
