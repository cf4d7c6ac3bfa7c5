"""Write the rows that every template's example gives on the shipped run: queries/example/expected.json.

Read the difference before committing it: `feature-graph query --check` holds every template against this file.

    python scripts/write_expected.py
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from feature_graph.database import server, store
from queries.check import answers, as_json, example_run


def main() -> None:
    """Load, ask, write."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder, server.disposable(Path(folder)) as where:
        with store.connect(where.uri, where.username, where.password) as db:
            found = answers(db.driver, db.ingest(example_run()).run)
        lines = [
            f"{json.dumps(name)}:{json.dumps(as_json(name, a), ensure_ascii=False, separators=(',', ':'))}" for name, a in found.items()
        ]
    (example_run() / "expected.json").write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
