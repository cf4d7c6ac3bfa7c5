"""What the server remarks on the user's own Cypher: a label, type or property that it does not know answers nothing, without an error."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import neo4j

logger = logging.getLogger(__name__)

#: Options of a session whose statements are the user's own: warnings, and no advice about speed.
CUSTOM: dict[str, Any] = {
    "notifications_min_severity": "WARNING",
    "notifications_disabled_classifications": ["PERFORMANCE", "HINT", "TOPOLOGY"],
}
#: Options of a session whose statements are this program's: it may ask for what no run has yet.
QUIET: dict[str, Any] = {"notifications_min_severity": "OFF"}

_heard: ContextVar[bool] = ContextVar("heard", default=False)


@contextmanager
def heard() -> Iterator[None]:
    """Within the block the driver's own log says nothing of what :func:`say` says in words."""
    token = _heard.set(True)
    try:
        yield
    finally:
        _heard.reset(token)


def say(summary: neo4j.ResultSummary) -> None:
    """Log each remark of the server as a warning, once."""
    remarks = [status.status_description.removeprefix("warn: ") for status in summary.gql_status_objects if status.is_notification]
    for remark in dict.fromkeys(remarks):
        logger.warning("Neo4j: %s", remark)


logging.getLogger("neo4j.notifications").addFilter(lambda _: not _heard.get())
