"""What the documents say exists: commands, make targets, links; and no file names a package registry's host."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from feature_graph.cli import app
from feature_graph.cli.commands import OLD_COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docker").glob("*.md")])
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
COMMAND = re.compile(r"(?:^|[`\s/])feature-graph ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)", re.MULTILINE)


def code(text: str) -> str:
    """Fenced, indented and inline code of a Markdown text, a piece a line."""
    fenced = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    indented = re.findall(r"^ {4}(.+)$", text, re.MULTILINE)
    inline = re.findall(r"`([^`\n]+)`", text)
    return "\n".join([*fenced, *indented, *inline])


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", NAMES)
def test_make_targets_exist(name: str) -> None:
    named = set(re.findall(r"^\s*make ([a-z-]+)", code((ROOT / name).read_text()), re.MULTILINE))
    assert named <= targets()


@pytest.mark.parametrize("name", NAMES)
def test_commands_exist(name: str) -> None:
    root = typer.main.get_command(app)
    for words in {m.split()[0] for m in COMMAND.findall(code((ROOT / name).read_text()))}:
        assert OLD_COMMANDS.get(words, words) in root.commands, f"{name}: feature-graph {words}"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
        if "://" not in link and not link.startswith("mailto:"):
            assert (path.parent / link).exists(), f"{name}: {link}"


def test_every_command_has_help() -> None:
    runner = CliRunner()
    for name in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        shown = runner.invoke(app, [name, "--help"])
        assert shown.exit_code == 0, name
        assert "Usage" in shown.output


def test_no_file_names_a_registry() -> None:
    hosts = ["pypi" + ".org", "python" + "hosted", "maven" + ".org", "npmjs" + ".", "sonatype" + "."]
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in files:
        path = ROOT / name
        if path.is_file() and path.suffix not in {".safetensors", ".png", ".parquet", ".h5"}:
            text = path.read_text(encoding="utf-8")
            assert not [h for h in hosts if h in text], name
