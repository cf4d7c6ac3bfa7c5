"""The address of a server, ``bolt://host:7687?database=name``: taken apart in one place. A password in one is refused, and never shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from ingest.errors import AddressRefused

ENCRYPTED = frozenset({"bolt+s", "bolt+ssc", "neo4j+s", "neo4j+ssc"})
PLAIN = frozenset({"bolt", "neo4j"})

_EXPECTED = f"expected one of {', '.join(sorted(PLAIN | ENCRYPTED))} and a host: bolt://127.0.0.1:7687"
_WHOLE_SCHEME = re.compile(r"[a-z][a-z0-9+]*://", re.IGNORECASE)
_SECRET = re.compile(r"user|principal|pass|pwd|cred|auth|token|secret|key", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """Where a server is, and which of its databases is meant.

    Attributes:
        uri: What a driver takes; without a name, a password and a database.
        scheme: Such as ``bolt+s``, in small letters.
        host: Name or number of the machine.
        database: Name of the database; None if the address names none.
    """

    uri: str
    scheme: str
    host: str
    database: str | None = None

    @property
    def encrypted(self) -> bool:
        """Whether nobody on the way can read what is sent."""
        return self.scheme in ENCRYPTED


def parse_address(text: str) -> Address:
    """Take an address apart.

    Raises:
        AddressRefused: If it is none, carries a user name or a password, or says what is not understood. The message, and whatever is
            printed of the error, holds nothing that could be a secret.
    """
    text = text.strip()
    if "@" in unquote(text):
        raise AddressRefused(
            f"address: got {_scheme(text)}…@…; expected no user name and no password in it, since everybody on this machine can read a "
            "command line: give the user by --user or NEO4J_USERNAME and the password by NEO4J_PASSWORD or NEO4J_PASSWORD_FILE, and "
            "change a password that has been shown"
        )
    parts = _split(text)
    if parts is None or parts.scheme not in PLAIN | ENCRYPTED or not parts.hostname:
        raise AddressRefused(f"address: got {_shown(text)!r}; {_EXPECTED}")
    if parts.path not in {"", "/"} or parts.fragment:
        raise AddressRefused(
            f"address: got {parts.scheme}://{parts.netloc}/…, with a path; expected none: name a database by --database, by "
            f"NEO4J_DATABASE, or as {parts.scheme}://{parts.netloc}?database=NAME"
        )
    database, rest = _query(parts)
    uri = f"{parts.scheme}://{parts.netloc}" + (f"?{urlencode(rest)}" if rest else "")
    return Address(uri, parts.scheme, parts.hostname, database)


def choose_database(given: str | None, address: Address | None, otherwise: str | None = None) -> str | None:
    """Which database is meant: the one given by name, else the address's, else the environment's; None is the user's default.

    Args:
        given: Name given by the user.
        address: Address of the server, which may name a database.
        otherwise: What ``NEO4J_DATABASE`` says.

    Raises:
        AddressRefused: If one is given by name and the address names another.
    """
    named = address.database if address else None
    if given and named and given != named:
        raise AddressRefused(f"database: got {given!r}, and {named!r} in the address; expected one of the two")
    return given or named or otherwise


def _split(text: str) -> SplitResult | None:
    """The parts, if the text has them; the error would show a piece of it."""
    try:
        parts = urlsplit(text)
        good = (parts.port is None or parts.port > 0) and ("%" not in parts.netloc or "[" in parts.netloc)
        return parts if good else None
    except ValueError:
        return None


def _query(parts: SplitResult) -> tuple[str | None, list[tuple[str, str]]]:
    """The database that the query names, and the rest of it: what a cluster's routing is told."""
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    names = [value for key, value in pairs if key == "database"]
    rest = [(key, value) for key, value in pairs if key != "database"]
    wrong = [key for key, _ in rest if _SECRET.search(key) or parts.scheme.startswith("bolt")]
    if wrong or len(names) > 1 or names == [""] or (parts.query and not pairs):
        raise AddressRefused(
            f"address: got {parts.scheme}://{parts.netloc}?…; expected nothing after the host and port but ?database=NAME, and no user "
            "name or password: those go into --user, NEO4J_USERNAME, NEO4J_PASSWORD and NEO4J_PASSWORD_FILE"
        )
    return (names[0] if names else None), rest


def _scheme(text: str) -> str:
    found = _WHOLE_SCHEME.match(text)
    return found[0] if found else ""


def _shown(text: str) -> str:
    """As much of what is not an address as cannot be a secret: a host and a port, no more."""
    parts = _split(text)
    if parts is None or (not parts.netloc and parts.path.strip("0123456789")):
        return f"{_scheme(text)}…"
    return f"{parts.scheme}:{f'//{parts.netloc}' if parts.netloc or '//' in text else parts.path}" if parts.scheme else parts.path
