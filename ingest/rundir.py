"""A run directory as ingest sees it: its files, their hashes, and which run they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ingest.errors import InvalidRun
from ingest.formats import FEATURES, INTERACTIONS, FormatError, read_meta
from ingest.reading import TableFile
from ingest.selection import Selection
from ingest.text import HALF, half_characters

CONFIG, MANIFEST, BEHAVIORS = "config.json", "manifest.json", "behaviors.json"

#: Configuration fields that decide where and how fast a run works, never what it finds.
OUTSIDE_IDENTITY = frozenset({"device", "batch_size", "output_dir"})
#: Rows of the significant edges, in file order, that make one block of the ledger.
BLOCK_ROWS = 1_000


@dataclass(frozen=True)
class RunDirectory:
    """What is known of a run before a table is read.

    Attributes:
        root: The directory.
        config: The configuration.
        manifest: What the program that computed it wrote down; empty if it wrote nothing.
        facts: ``meta`` of interactions.parquet.
        sites: Facts of each site, if features.parquet or the manifest carry them (``artifacts.Site`` as a dict).
        features_sha256: Hash of features.parquet.
        interactions_sha256: Hash of interactions.parquet.
        dictionaries: What its uids begin with.
        selection: Which of its edges are loaded.
    """

    root: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    facts: dict[str, Any]
    sites: list[dict[str, Any]]
    features_sha256: str
    interactions_sha256: str
    dictionaries: list[str] = field(default_factory=list)
    selection: Selection = field(default_factory=Selection)

    @property
    def features(self) -> Path:
        """features.parquet."""
        return self.root / FEATURES.name

    @property
    def interactions(self) -> Path:
        """interactions.parquet."""
        return self.root / INTERACTIONS.name

    @property
    def behaviors(self) -> Path:
        """behaviors.json."""
        return self.root / BEHAVIORS

    @property
    def seed(self) -> int | None:
        """Seed of the run."""
        seed = self.config.get("seed", self.manifest.get("seed"))
        return None if seed is None else int(seed)

    @property
    def level(self) -> float | None:
        """Level below which an adjusted p is significant, if the files name it."""
        level = self.facts.get("level", self.config.get("significance_level"))
        return None if level is None else float(level)

    @property
    def whole_id(self) -> str:
        """Id of the run with all its edges: the same for every selection."""
        return replace(self, selection=Selection()).id

    @property
    def id(self) -> str:
        """First 16 hex digits of the hash over what makes the run what it is; a selection of its edges is another run."""
        config = {k: v for k, v in self.config.items() if k not in OUTSIDE_IDENTITY}
        hashes = sorted(str(s.get("sha256", "")) for s in self.sites)
        parts = [config, self.dictionaries, hashes, self.seed, self.features_sha256, self.interactions_sha256]
        parts += [self.selection.chosen] if self.selection.chosen else []
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def open_run(root: str | Path, selection: Selection | None = None) -> RunDirectory:
    """Read what identifies a run.

    Args:
        root: The directory.
        selection: Which of its edges are wanted; all by default.

    Raises:
        InvalidRun: If a file is missing, not in its format, or not the one that the manifest recorded.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise InvalidRun(str(root), ["no such directory; expected one that `feature-graph run` wrote"])
    problems: list[str] = []
    config = _json(root / CONFIG, problems, required=True)
    manifest = _json(root / MANIFEST, problems, required=False)
    metas = {}
    for fmt in (FEATURES, INTERACTIONS):
        try:
            metas[fmt.kind] = read_meta(root / fmt.name, fmt)
        except (FormatError, json.JSONDecodeError) as error:
            problems.append(str(error))
    problems += _levels(config, metas.get(INTERACTIONS.kind, {}))
    seed = config.get("seed", manifest.get("seed"))
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        problems.append(f"{CONFIG}: seed: got {seed!r:.60}; expected a whole number")
    if problems:
        raise InvalidRun(str(root), problems)
    hashes = {fmt.kind: sha256_file(root / fmt.name) for fmt in (FEATURES, INTERACTIONS)}
    problems = _edited(manifest, hashes)
    if problems:
        raise InvalidRun(str(root), problems)
    sites = _sites(metas["features"].get("sites"), manifest)
    try:
        dictionaries = sorted(_dictionaries(root / FEATURES.name))
    except FormatError as error:
        raise InvalidRun(str(root), [str(error)]) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise InvalidRun(str(root), [f"{FEATURES.name}: damaged: {error}"]) from error
    files = hashes["features"], hashes["interactions"]
    return RunDirectory(root, config, manifest, metas["interactions"], sites, *files, dictionaries, selection or Selection())


def _levels(config: dict[str, Any], facts: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the levels of significance that the files name."""
    for where, level in (
        (f"{CONFIG}: significance_level", config.get("significance_level")),
        (f"{INTERACTIONS.name}: level", facts.get("level")),
    ):
        if level is not None and not (isinstance(level, int | float) and not isinstance(level, bool) and 0 < level < 1):
            yield f"{where}: got {level!r:.60}; expected a number between 0 and 1"


def run_id(root: str | Path, selection: Selection | None = None) -> str:
    """Id that the run in this directory has in the graph.

    Raises:
        InvalidRun: As :func:`open_run`.
    """
    return open_run(root, selection).id


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(path: Path, problems: list[str], required: bool) -> dict[str, Any]:
    if not path.is_file():
        if required:
            problems.append(f"{path.name}: no such file; a run directory has one (docs/artifacts.md)")
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        problems.append(f"{path.name}: not JSON: {error}")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{path.name}: got {type(value).__name__}; expected a JSON object")
        return {}
    if half_characters(json.dumps(value, ensure_ascii=False)):
        problems.append(f"{path.name}: {HALF}")
    return value


def _sites(listed: Any, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Facts of each site from the features' metadata, with what the manifest adds (the hash of the weights)."""
    known = {_site_key(site): dict(site) for site in listed or [] if isinstance(site, dict)}
    for site in _mapping(manifest.get("saes")).values():
        key = _site_key(_mapping(site))
        known[key] = _mapping(site) | known.get(key, {})
    return [known[key] for key in sorted(known, key=str)]


def _site_key(site: dict[str, Any]) -> tuple[Any, str]:
    """Layer and name of a site; it has no name where it is the only one of its layer."""
    return site.get("layer"), str(site.get("site", ""))


def _edited(manifest: dict[str, Any], hashes: dict[str, str]) -> list[str]:
    recorded = dict(_recorded(manifest))
    return [
        f"{kind}.parquet: sha256 {sha256[:12]}…, manifest.json recorded {recorded[f'{kind}.parquet'][:12]}…: changed after the run; "
        "run it again, or remove manifest.json to ingest the files as they are"
        for kind, sha256 in hashes.items()
        if recorded.get(f"{kind}.parquet", sha256) != sha256
    ]


def _recorded(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """File name and sha256 of every artifact that the manifest's stages list."""
    for stage in _mapping(manifest.get("stages")).values():
        for name, mark in _mapping(_mapping(stage).get("artifacts")).items():
            sha256 = _mapping(mark).get("sha256")
            if isinstance(sha256, str):
                yield name, sha256


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dictionaries(path: Path) -> set[str]:
    with TableFile(path, FEATURES, verified=True) as file:
        return {uid.rpartition("/")[0] for batch in file.batches(["uid"]) for uid in batch.column("uid").to_pylist() if uid}
