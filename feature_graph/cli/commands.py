"""How command lines are read: paths that are no options, names of old, hints for what was mistyped, and errors as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from feature_graph.cli import common
from feature_graph.terminal import visible

#: Command → option of old → its name today. An old name works, and says on standard error that it is old.
OLD_OPTIONS: dict[str, dict[str, str]] = {
    "analyze": {"-k": "--top"},
    "attribution": {"--out": "--output-dir"},
    "calibrate": {"--out": "--output-dir", "-n": "--seeds"},
    "ingest": {"--out": "--output-dir"},
    "motifs": {"-p": "--pattern", "-n": "--null", "-l": "--limit"},
    "probe": {"-k": "--kind", "-p": "--pairs"},
    "pruning-recall": {"-n": "--sources"},
    "steer": {"-f": "--feature", "-c": "--compensate", "--at-most": "--max-counter-steers", "--themselves": "--compensate-directly"},
    "validate": {"-n": "--sources"},
}

OLD_COMMANDS = {"recall": "pruning-recall"}


class Commands(TyperGroup):
    """A group of commands whose known errors end in one clear message and an exit code; ``--debug`` shows the traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options of the group."""
        if ctx.parent is None:
            common.answer_as_json(wants_json(args))
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of that name, or of a name of old."""
        name = OLD_COMMANDS.get(args[0], "")
        if name in self.commands:
            common.err.print(f"[yellow]warning:[/] {args[0]} is now {name}", highlight=False)
            args = [name, *args[1:]]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            common.fail("stopped", common.INTERRUPTED)
        except typer.TyperException as error:
            if not common.answering_json():
                error.message = visible(error.message)
                raise
            common.fail(error.format_message(), error.exit_code)
        except Exception as error:
            code = common.exit_code(error)
            if code is None or ctx.find_root().params.get("debug"):
                raise
            common.fail(common.sentence(error), code)


class CommandLine(typer.Typer):
    """A Typer whose commands are :class:`Command`."""

    def command(self, name: str | None = None, **options: Any) -> Callable[..., Any]:
        """Add a command."""
        return super().command(name, **({"cls": Command} | options))


class Command(TyperCommand):
    """A command that takes no option for a path, knows its options of old, and hints at what was meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments.

        Raises:
            BadParameter: If a path begins with a dash.
        """
        args = list(_renamed(OLD_OPTIONS.get(self.name or "", {}), args))
        try:
            rest = super().parse_args(ctx, list(args))
        except typer.TyperException as error:
            error.message += self._hint(error.message, args)
            raise
        if not ctx.resilient_parsing:
            self._check_paths(ctx)
        return rest

    def _hint(self, message: str, args: Sequence[str]) -> str:
        """``KEY=VALUE`` was given without the option that takes it."""
        pair = next((word for word in args if "=" in word and not word.startswith("-") and word in message), None)
        option = next((p.opts[0] for p in self.params if str(p.metavar or "").endswith("=VALUE")), None)
        return f"; did you mean {option} {pair}?" if pair and option else ""

    def _check_paths(self, ctx: Any) -> None:
        for parameter in self.params:
            value = ctx.params.get(parameter.name)
            for path in value if isinstance(value, list) else [value]:
                if isinstance(path, Path) and str(path).startswith("-") and str(path) != "-":
                    message = f"got {str(path)!r}; expected a path. A file whose name begins with a dash is written ./{path}"
                    raise typer.BadParameter(message, ctx=ctx, param_hint=" / ".join(parameter.opts))


def _renamed(old: dict[str, str], args: Sequence[str]) -> Iterator[str]:
    """The words with options of old by their names of today."""
    words = iter(args)
    for word in words:
        if word == "--":
            yield word
            break
        name, mark, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        if name not in old:
            yield word
            continue
        common.err.print(f"[yellow]warning:[/] {name} is now {old[name]}", highlight=False)
        yield old[name]
        if mark:
            yield value
    yield from words


def wants_json(args: Sequence[str]) -> bool:
    """Whether the answer was asked for as JSON."""
    words = list(args[: args.index("--")] if "--" in args else args)
    one_word = {"--json", "--format=json", "-fjson"}
    return not one_word.isdisjoint(words) or any(a in {"--format", "-f"} and b == "json" for a, b in pairwise(words))


def ending(*endings: str) -> Callable[[Path | None], Path | None]:
    """A callback for an option that names a file to write: it has to have one of these endings, before any work is done."""

    def check(path: Path | None) -> Path | None:
        if path is not None and not str(path).startswith("-") and path.suffix.lower() not in endings:
            raise typer.BadParameter(f"got {path}; expected a name that ends in {' or '.join(endings)}")
        return path

    return check


def check_exists(path: Path | None, option: str) -> None:
    """Refuse an option that names a file or folder to read which is not there, before any work is done."""
    if path is not None and not path.exists():
        raise typer.BadParameter(f"there is no file {path}", param_hint=option)


def run_directory(path: Path) -> Path:
    """A callback for an argument that names a run directory."""
    if path is None or path.is_dir():  # None: while the shell completes a line
        return path
    if path.exists():
        raise typer.BadParameter(f"{path} is a file; expected a run directory")
    raise typer.BadParameter(f"there is no directory {path}; expected a run directory, such as outputs/bundled")


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON; errors are then JSON as well.")]
RunDirectory = Annotated[Path, typer.Argument(metavar="RUN_DIR", callback=run_directory, help="Run directory, such as outputs/bundled.")]
