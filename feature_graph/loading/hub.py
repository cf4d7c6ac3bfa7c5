"""The hub, asked only when it must be: what is in the cache is used at once, what is not is refused at once when off-line.

Left to themselves the libraries try the network for twenty seconds and more before they say that there is none.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, is_offline_mode
from huggingface_hub.file_download import repo_folder_name

from feature_graph.config import BUNDLED_MODEL
from feature_graph.loading.errors import OfflineError

log = logging.getLogger(__name__)
_PROBE_SECONDS = 4.0
_WEIGHTS = {".safetensors", ".bin", ".pth", ".pt", ".npz"}


@dataclass(frozen=True)
class Need:
    """Files of one repository that a load will ask for.

    Attributes:
        what: In words, for messages: ``model gpt2-small``.
        repo_id: Repository on the hub.
        path: Folder (or file) within it; empty for the whole repository.
        local_way: What a user without network can name instead.
        revision: Branch, tag or commit.
    """

    what: str
    repo_id: str
    path: str = ""
    local_way: str = "a local folder"
    revision: str = "main"

    def is_cached(self) -> bool:
        """Whether weights below ``path`` are in the hub's cache, at the commit that ``revision`` points to."""
        snapshot = snapshot_folder(self.repo_id, revision=self.revision)
        if snapshot is None:
            return False
        place = snapshot / self.path
        return place.is_file() or (place.is_dir() and any(p.suffix in _WEIGHTS for p in place.iterdir()))


def snapshot_folder(repo_id: str, repo_type: str = "model", revision: str = "main") -> Path | None:
    """Folder of the cached snapshot of a branch, tag or commit, or None."""
    base = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type=repo_type)
    ref = base / "refs" / revision
    folder = base / "snapshots" / (ref.read_text().strip() if ref.is_file() else revision)
    return folder if folder.is_dir() else None


def dataset_snapshot(repo_id: str) -> Path | None:
    """Folder of a data set that the hub's client has downloaded: what ``main`` points to, else the only snapshot, or None."""
    found = snapshot_folder(repo_id, "dataset")
    if found is None:
        kept = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="dataset") / "snapshots"
        folders = [p for p in kept.iterdir() if p.is_dir()] if kept.is_dir() else []
        found = folders[0] if len(folders) == 1 else None
    return found if found is not None and any(p.is_file() for p in found.rglob("*")) else None


def is_reachable() -> bool:
    """Whether the hub answers within four seconds, through whatever proxy the environment names.

    Any answer will do, a refusal or a certificate of an unknown authority too: the libraries that then ask for files have
    their own settings for those.
    """
    try:
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=_PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        log.debug("hub not reachable: %s", error)
        return isinstance(error.reason, ssl.SSLError)
    except TimeoutError:
        return False
    return True


@contextlib.contextmanager
def access(need: Need) -> Iterator[None]:
    """Load inside this block: from the cache alone if it is there, else from the hub if that can be reached.

    Raises:
        OfflineError: At once, if it is neither cached nor reachable.
    """
    if need.is_cached():
        with cache_only():
            yield
        return
    require_hub(need)
    log.info("fetching %s from the hub (%s)", need.what, need.repo_id)
    yield


@contextlib.contextmanager
def cache_only() -> Iterator[None]:
    """Let the hub's client use its cache alone, as HF_HUB_OFFLINE=1 does, while the block runs."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def require_hub(need: Need) -> None:
    """Refuse at once what is not cached if the hub cannot be reached.

    Raises:
        OfflineError: Saying what to do.
    """
    if is_offline_mode():
        why = "HF_HUB_OFFLINE is set"
    elif not is_reachable():
        why = "the hub does not answer"
    else:
        return
    raise OfflineError(
        f"{need.what}: {need.repo_id}{'/' + need.path if need.path else ''} is not in the cache {constants.HF_HUB_CACHE}, and {why}. "
        f"Run it once with network, or copy the cache of a machine that has it and set HF_HOME, or name {need.local_way}, "
        f"or use the bundled model (model_name: {BUNDLED_MODEL}), which needs no hub."
    )
