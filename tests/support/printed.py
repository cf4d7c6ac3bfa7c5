"""The commands that README, the documentation and the demo print, as words, each with the place where it is printed."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    p for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docker/*.md")] if p.name not in {"log.md", "CHANGELOG.md"}
)
BEGINS = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?(?:feature-graph|python -m|python|make)(?![\w-]) ?")
FEATURE = re.compile(r"\bL\d+(?:\.[a-z]+)?_F\d+\b")
#: What stands for a value of the reader's.
PLACEHOLDERS = {
    "RUN_DIR": "outputs/bundled",
    "RUN": "outputs/bundled",
    "OTHER": "outputs/other",
    "FILE": "own.cypher",
    "DIR": "folder",
    "GRAPH.json": "graph.json",
    "NAME": "hubs",
    "…": "degree",
}


@dataclass(frozen=True)
class Printed:
    """One command: its page, and its words without the program."""

    page: str
    program: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {self.program} {shlex.join(self.words)}"

    @property
    def features(self) -> list[str]:
        """Feature ids that it names."""
        return FEATURE.findall(" ".join(self.words))


def code(text: str) -> list[str]:
    """Lines of fenced and indented code, and inline code."""
    fenced = [line for block in re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    return [*fenced, *re.findall(r"^ {4}(.+)$", text, re.MULTILINE), *re.findall(r"`([^`\n]+)`", text)]


def commands(path: Path) -> list[Printed]:
    """Every command of a page, once; a placeholder has become a value, and of alternatives ``a|b`` the first is taken."""
    found = []
    for line in code(path.read_text(encoding="utf-8")):
        for part in line.split(" # ")[0].split(" && "):
            begin = BEGINS.match(part.strip())
            if begin is None or part.strip().startswith("make "):
                continue
            words = [w if w == "…" else w.rstrip("…") for w in shlex.split(part.strip()[begin.end() :], comments=True)]
            plain = [w.split("|")[0] if re.fullmatch(r"[a-z]+(\|[a-z]+)+", w) else PLACEHOLDERS.get(w, w) for w in words]
            program = begin.group(0).strip().removeprefix("$ ").removeprefix(".venv/bin/")
            found.append(Printed(path.relative_to(ROOT).as_posix(), program, tuple(plain)))
    return list(dict.fromkeys(found))


def all_commands() -> list[Printed]:
    """Those of every page."""
    return [command for page in PAGES for command in commands(page)]
