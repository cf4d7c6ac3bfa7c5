"""Which model and which dictionaries a graph is about: every place where real files keep their names.

In this order: ``metadata.feature_details`` and ``metadata.info`` (``neuronpedia_source_set``, ``neuronpedia_lorsa_source_set``, as
Neuronpedia's downloads have it), pages of neuronpedia.org in ``info.source_urls``; then, without pages of features, ``transcoder_set``,
``transcoder_list``, one repository of the Hugging Face hub in ``source_urls``, the last part of ``feature_json_base_url``, and a ``scan``
that is a repository or path. A file that has none of these is of dictionaries of its own: their name is made of the hash of the file, so
that they are never taken for another's.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingest.attribution_graphs.errors import GraphError

if TYPE_CHECKING:
    from ingest.attribution_graphs.read import AttributionGraph

UNKNOWN_HASH = "00000000"
_PAGE = re.compile(r"https?://(?:www\.)?neuronpedia\.org/([^/?#]+)/(?:\d+-)?([^/?#]+)")
_HUB = re.compile(r"https?://huggingface\.co/(?!datasets/|spaces/)([^/?#]+/[^/?#]+)")
_SETS = {"mlp": "neuronpedia_source_set", "attention": "neuronpedia_lorsa_source_set"}


@dataclass(frozen=True)
class Naming:
    """What the user says of the names, in place of what the file says.

    Attributes:
        model: Name of the model; ``metadata.scan`` if empty.
        model_hash: First 8 hex digits of the hash over its weights; zeros, "not known", if empty. Runs share features by this.
        release: Name of the set of transcoders; what the file says if empty. Attention dictionaries that the file does not name are called
            after it.
    """

    model: str = ""
    model_hash: str = ""
    release: str = ""


@dataclass(frozen=True)
class Names:
    """Names of one graph, fit for a uid: no slash in the release, no blank in either.

    Attributes:
        model: Name and hash, ``<name>@<hash>``.
        releases: Kind (``mlp``, ``attention``) → name of the dictionaries.
        pages: Kind → beginning and end of a feature's page around the layer, ``https://…/<model>/`` and ``-<source set>/``; only for those
            that Neuronpedia knows.
        unnamed: Whether a name was made of the file's hash.
    """

    model: str
    releases: dict[str, str]
    pages: dict[str, tuple[str, str]]
    unnamed: bool = False

    @property
    def model_name(self) -> str:
        """Without the hash."""
        return self.model.rpartition("@")[0]


def names_of(graph: AttributionGraph, given: Naming) -> Names:
    """Names of a graph.

    Raises:
        GraphError: If two places of the file name different dictionaries, or the hash given is none.
    """
    model_hash = given.model_hash or UNKNOWN_HASH
    if not re.fullmatch(r"[0-9a-f]{8}", model_hash):
        raise GraphError(f"model hash: got {given.model_hash!r}; expected 8 hex digits")
    scan = str(graph.metadata["scan"])
    releases: dict[str, str] = {}
    pages: dict[str, tuple[str, str]] = {}
    unnamed = False
    for kind in [kind for kind in _SETS if kind in set(graph.features["kind"])] or ["mlp"]:
        page = _source_set(graph, kind)
        name = page or (_other_name(graph) if kind == "mlp" else "")
        if given.release:
            name = given.release if kind == "mlp" else name or f"{given.release}-lorsa"
        unnamed |= not name
        releases[kind] = _plain(name or f"unnamed-{graph.sha256[:8]}" + ("" if kind == "mlp" else "-lorsa"))
        if page:
            pages[kind] = (f"https://www.neuronpedia.org/{_page_model(graph) or scan}/", f"-{page}/")
    return Names(f"{_plain(given.model or scan)}@{model_hash}", releases, pages, unnamed)


def _plain(name: str) -> str:
    return re.sub(r"[\s/@]+", "-", name.strip()).strip("-")


def _details(graph: AttributionGraph, part: str) -> dict[str, Any]:
    found = graph.metadata.get(part)
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _urls(graph: AttributionGraph) -> list[str]:
    urls = _details(graph, "info").get("source_urls")
    return [_text(url) for url in (urls if isinstance(urls, list) else [urls]) if _text(url)]


def _source_set(graph: AttributionGraph, kind: str) -> str:
    """Neuronpedia's name of the dictionaries; empty if the file has none."""
    key = _SETS[kind]
    said = {f"metadata.{part}.{key}": _text(_details(graph, part).get(key)) for part in ("feature_details", "info")}
    said = {place: name for place, name in said.items() if name}
    if not said and kind == "mlp":
        other = _source_set(graph, "attention")
        found = [_PAGE.match(url) for url in _urls(graph)]
        said = {f"metadata.info.source_urls ({m[0]})": m[2] for m in found if m and m[2] not in ("graph", other)}
    if len(set(said.values())) > 1:
        raise GraphError(
            f"{graph.path}: the file names different dictionaries: {', '.join(f'{name} in {place}' for place, name in said.items())}; say "
            "which it is with --release"
        )
    return next(iter(said.values()), "")


def _page_model(graph: AttributionGraph) -> str:
    return next((m[1] for url in _urls(graph) if (m := _PAGE.match(url))), "")


def _other_name(graph: AttributionGraph) -> str:
    """A name of the dictionaries that Neuronpedia has no pages for."""
    for place in (_details(graph, "info"), graph.metadata):
        if _text(place.get("transcoder_set")):
            return _text(place["transcoder_set"])
    listed = graph.metadata.get("transcoder_list")
    if isinstance(listed, list) and listed:
        return "transcoders-" + hashlib.sha256("\n".join(map(str, listed)).encode()).hexdigest()[:8]
    hubs = {m[1] for url in _urls(graph) if (m := _HUB.match(url))}
    if len(hubs) == 1:
        return hubs.pop()
    base = _text(_details(graph, "feature_details").get("feature_json_base_url")).rstrip("/")
    scan = str(graph.metadata["scan"])
    return base.rpartition("/")[2] or (scan if "/" in scan else "")
