"""What every command shares: consoles, tables, configurations by name, and errors in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from feature_graph.cli.tables import FittedTable
from feature_graph.terminal import SafeConsole, visible

if TYPE_CHECKING:
    from feature_graph.config import Config

out = SafeConsole()
err = SafeConsole(stderr=True)

USAGE, FAILURE, INTERRUPTED = 2, 1, 130

_as_json: ContextVar[bool] = ContextVar("as_json", default=False)

#: Packages whose errors are the user's news: their classes carry an ``exit_code``.
_PACKAGES = frozenset({"feature_graph", "ingest", "queries"})


def answer_as_json(wanted: bool) -> None:
    """Note whether the answer was asked for as JSON: errors are then JSON as well."""
    _as_json.set(wanted)


def answering_json() -> bool:
    """Whether it was."""
    return _as_json.get()


def exit_code(error: BaseException) -> int | None:
    """The exit code of an error that is the user's news: the system's, or one of the packages above. None: it is a fault of the program."""
    if isinstance(error, OSError):
        return FAILURE
    known = (kind for kind in type(error).__mro__ if kind.__module__.partition(".")[0] in _PACKAGES)
    return next((code for kind in known if isinstance(code := getattr(kind, "exit_code", None), int)), None)


def sentence(error: BaseException) -> str:
    """What an error says, in one sentence."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return str(error) or type(error).__name__


def fail(message: str, code: int = FAILURE) -> NoReturn:
    """Say what is wrong on standard error, or as JSON on standard output if the answer was asked for as JSON, and end the command.

    Raises:
        typer.Exit: Always.
    """
    if _as_json.get():
        say(json.dumps({"error": message, "exit_code": code}, ensure_ascii=False))
        raise typer.Exit(code)
    err.print(f"[bold red]error:[/] {escaped(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def say(text: object = "", nl: bool = True, err: bool = False) -> None:
    """Write one plain text, such as JSON or a path, for people and programs alike: control characters become escapes.

    JSON stays the same value: it has such characters inside its texts only, and as escapes that it knows.
    """
    typer.echo(visible(str(text)), nl=nl, err=err)


def answer(as_json: bool, data: object, *lines: str) -> None:
    """Print a command's answer: the data as JSON, or the lines for people."""
    if as_json:
        say(json.dumps(data, ensure_ascii=False, allow_nan=False, default=str))
        return
    for line in lines:
        out.print(escaped(line), highlight=False, soft_wrap=True)


def send(data: str) -> None:
    """Write data, such as CSV, to standard output: as they are into a file or a pipe, made safe for a terminal."""
    sys.stdout.write(visible(data) if sys.stdout.isatty() else data)  # typer.echo would take escape sequences out of what goes to a pipe
    sys.stdout.flush()


def confirmed(question: str, abort: bool = False, err: bool = False) -> bool:
    """Ask yes or no."""
    return typer.confirm(visible(question), abort=abort, err=err)


def escaped(text: str) -> str:
    """Text in which square brackets stay what they are, and control characters are shown."""
    from rich.markup import escape

    return escape(visible(text))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[str] = ()) -> FittedTable:
    """A table for people, as wide as the terminal allows.

    Args:
        title: Its caption.
        columns: Headings.
        rows: Values; floats are shortened, None is empty.
        right: Headings of columns that are set flush right.
    """
    return FittedTable(visible(title), [visible(c) for c in columns], [[visible(cell(v)) for v in row] for row in rows], right)


def cell(value: object) -> str:
    """One value for a table."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return visible(str(value))


def config_folder() -> Path:
    """Where the shipped configurations lie: package data, or examples/configs of a checkout."""
    from importlib.resources import files

    package = Path(str(files("feature_graph")))
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "examples" / "configs"


def shipped_configs() -> dict[str, Path]:
    """Name → file of the shipped configurations."""
    return {path.stem: path for path in sorted(config_folder().glob("*.yaml"), key=lambda path: path.stem)}


def load_config(source: str, overrides: Sequence[str] = (), output_dir: Path | None = None) -> Config:
    """A configuration from a file, a run directory, or the name of a shipped one, with ``field=value`` overrides.

    Raises:
        ConfigError: If there is none of that name, or a field or value is wrong.
    """
    from feature_graph.config import Config

    cfg = _load(source)
    values = dict(_override(text) for text in overrides)
    if output_dir is not None:
        values["output_dir"] = str(output_dir)
    known = cfg.model_dump()
    if values.get("sites") and "layers" not in values:
        del known["layers"]  # those of the sites
    return _checked(known | values) if values else Config(**known)


def _load(source: str) -> Config:
    from feature_graph.config import Config, ConfigError

    path, shipped = Path(source), shipped_configs()
    if path.is_dir() and (path / "config.json").is_file():
        return _checked(Config.load(path / "config.json").model_dump() | {"output_dir": str(path)})
    if source in shipped and not path.is_file():
        return Config.load(shipped[source])
    if path.is_file() or path.suffix in {".json", ".yaml", ".yml"}:
        return Config.load(path)
    raise ConfigError(f"got {source!r}; expected a .yaml or .json file, a run directory, or one of: {', '.join(shipped) or 'none shipped'}")


def _override(text: str) -> tuple[str, object]:
    import yaml

    from feature_graph.config import ConfigError

    name, mark, value = text.partition("=")
    if not mark or not name.strip():
        raise ConfigError(f"--set: got {text!r}; expected field=value, such as n_tokens=4000 or layers=[3,7,11]")
    try:
        return name.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {name}: {value!r} is not a value: {error}") from error


def _checked(values: dict[str, Any]) -> Config:
    from pydantic import ValidationError

    from feature_graph.config import Config, ConfigError, explain

    try:
        return Config(**values)
    except ValidationError as error:
        raise ConfigError(f"configuration:\n{explain(error)}") from error
