"""The templates as Neo4j Browser keeps favourites: one ``.cypher`` file each, its first line ``// Title``, a folder per family.

Each runs as it stands, on the newest ready run, with the defaults written out; what has no default stays ``$name`` and is said in a
comment.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from queries.browser.literals import written_out
from queries.errors import QueryError
from queries.library import templates
from queries.template import Template

_DATE = (2020, 1, 1, 0, 0, 0)


def favourites() -> dict[str, str]:
    """File (``family/name.cypher``) → text; drawings are ``family/name_drawn.cypher``."""
    files = {}
    for template in templates().values():
        files[f"{template.family}/{template.name}.cypher"] = written_out(template, {})
        if template.visual:
            files[f"{template.family}/{template.name}_drawn.cypher"] = _drawn(template)
    return files


def _drawn(template: Template) -> str:
    title, _, rest = written_out(template, {}, visual=True).partition("\n")
    return f"{title}: drawn\n{rest}"


def favourites_zip() -> bytes:
    """The same as an archive, equal bytes each time: dropped onto Neo4j Browser's window, it becomes favourites in folders."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in favourites().items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), text, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def write_favourites(where: Path) -> int:
    """Write them into the folder ``where``, or into the archive if it ends in ``.zip``; give how many.

    Raises:
        QueryError: If ``where`` is a file that is not an archive, or an archive of that name is there already.
    """
    files = favourites()
    if where.suffix == ".zip":
        if where.exists():
            raise QueryError(f"{where} is there already; name another file, or remove it")
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(favourites_zip())
        return len(files)
    if where.exists() and not where.is_dir():
        raise QueryError(f"got {where}, a file; expected a folder, or a name that ends in .zip")
    for name, text in files.items():
        path = where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return len(files)
