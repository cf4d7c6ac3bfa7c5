"""Write feature_graph/database/server/jars.txt: every jar of the embedded Neo4j, flattened, with its sha256.

For maintainers only, when a version in scripts/neo4j-pom.xml changes. Needs ``mvn``; users never do: they fetch what this list names.

    python scripts/make_jar_list.py

Maven mediates the versions once, here. The list is what everybody runs, so that a server assembled next year is the one tested today.
A jar is marked ``plugin`` if it declares procedures or functions (META-INF/services/org.neo4j.procedure.*): Neo4j looks for those in its
plugin folder only. Look through the difference, then run ``pytest -m graph``.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
POM = ROOT / "scripts" / "neo4j-pom.xml"
OUT = ROOT / "feature_graph" / "database" / "server" / "jars.txt"
DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
SERVICES = {"META-INF/services/org.neo4j.procedure.Procedure", "META-INF/services/org.neo4j.procedure.UserFunction"}
HEADER = """\
# The embedded Neo4j: every jar, flattened from scripts/neo4j-pom.xml by scripts/make_jar_list.py. Do not edit by hand.
# group:artifact:version[:classifier] sha256 bytes [plugin]
"""


def resolved() -> list[str]:
    """Lines ``group:artifact:jar[:classifier]:version:scope:path`` as Maven resolves the runtime scope."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "list.txt"
        goal = [f"{DEPENDENCY_PLUGIN}:list", "-DincludeScope=runtime", "-DoutputAbsoluteArtifactFilename=true", f"-DoutputFile={out}"]
        subprocess.run(["mvn", "-B", "-q", "-f", str(POM), *goal], check=True)
        plain = re.sub(r"\x1b\[[0-9;]*m", "", out.read_text(encoding="utf-8"))
    return [line.strip() for line in plain.splitlines() if line.count(":") >= 5]


def entry(line: str) -> str:
    """One line of the list, from one line of Maven."""
    group, artifact, packaging, *rest = line.split(" -- ")[0].split(":")
    if packaging != "jar":
        raise SystemExit(f"{group}:{artifact} is a {packaging}, expected a jar")
    *classifier, version, _scope, path = rest
    data = Path(path).read_bytes()
    with zipfile.ZipFile(path) as jar:
        plugin = bool(SERVICES & set(jar.namelist()))
    coordinate = ":".join([group, artifact, version, *classifier])
    return " ".join([coordinate, hashlib.sha256(data).hexdigest(), str(len(data)), *(["plugin"] if plugin else [])])


def main() -> None:
    """Write the list."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    lines = sorted(entry(line) for line in resolved())
    OUT.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{OUT.relative_to(ROOT)}: {len(lines)} jars, {sum(int(line.split()[2]) for line in lines) / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
