"""Four ways into Neo4j on the same rows, and the time of every question: py2neo, plain UNWIND … MERGE, our online path, our bulk path.

Each measurement has a fresh database home in a temporary folder, a server of its own (started and stopped apart from what is measured)
and a process of its own for the client. All but bulk, which needs an empty database, warm the server up with 50,000 other edges: by our
online path (MERGE planned on an empty database is very slow for a while), and once more by the method itself. Counted
from the Parquet files to an answered question with all indexes online. Methods take turns. Synthetic runs: benchmarks/synthetic.py.

    python benchmarks/ingest_speed.py [--json] [--quick] [--out FILE] [--only online,bulk] [--sizes 1m,5m] [--minutes 44] [--work DIR]

Progress goes to stderr. What is measured is written to --out after every step, and printed at the end, also when the benchmark is
interrupted or a step fails (``errors``). --quick: 100,000 edges only, one round, a smaller warm-up.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.synthetic import write_decoders, write_run

SIZES = {"100k": 100_000, "1m": 1_000_000, "5m": 5_000_000}
WARM_UP = 50_000
HEAP, PAGE_CACHE = "2g", "3g"
#: Method and size, in turns; two rounds of the small ones.
PLAN = [
    *[(method, "100k") for _ in range(2) for method in ("py2neo", "merge", "online")],
    ("online", "1m"),
    ("merge", "1m"),
    ("bulk", "1m"),
    ("online", "5m"),
    ("bulk", "5m"),
    ("py2neo", "1m"),
]
QUICK_PLAN = [("online", "100k"), ("merge", "100k"), ("py2neo", "100k"), ("bulk", "100k")]
QUESTION_TIMEOUT = 30.0


@dataclass
class IngestBenchmark:
    """What is measured, as it grows."""

    work: Path
    out: Path | None
    end: float
    loads: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    questions: dict[str, dict[str, float]] = field(default_factory=dict)
    server_s: dict[str, list[float]] = field(default_factory=lambda: {"start": [], "stop": []})
    errors: dict[str, str] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """Progress for people."""
        print(f"[{time.strftime('%H:%M:%S')}, {(self.end - time.monotonic()) / 60:.0f} min left] {text}", file=sys.stderr, flush=True)

    def run_dir(self, size: str | int) -> Path:
        """The synthetic run of a size; made when it is asked for the first time."""
        edges = SIZES[size] if isinstance(size, str) else size
        root = self.work / f"run-{size}"
        if not root.exists():
            self.say(f"writing a run of {edges:,} edges")
            part = self.work / f"part-{size}"
            write_run(part, edges, seed=0 if isinstance(size, str) else 1)
            _write_behaviors(part)
            part.rename(root)
        return root

    @contextmanager
    def home(self, name: str) -> Iterator[Path]:
        """A fresh home with its server running."""
        from feature_graph.database import server

        home = self.work / f"home-{name}"
        try:
            self._timed("start", lambda: server.start(home, heap=HEAP, page_cache=PAGE_CACHE))
            yield home
        finally:
            self._timed("stop", lambda: server.stop(home))
            shutil.rmtree(home, ignore_errors=True)

    def _timed(self, what: str, do: Any) -> None:
        begun = time.perf_counter()
        do()
        self.server_s[what].append(time.perf_counter() - begun)

    def save(self) -> None:
        """Write down what there is."""
        if self.out is not None:
            part = self.out.with_suffix(".part")
            part.write_text(json.dumps(self.figures(), indent=2) + "\n", encoding="utf-8")
            part.rename(self.out)

    def figures(self) -> dict[str, Any]:
        """Everything, by the names of the issue; null where it was not measured."""
        rate = {method: {size: self._rate(method, size) for size in SIZES} for method in ("py2neo", "merge", "online", "bulk")}
        online = [load["rss_gb"] for (key, loads) in self.loads.items() if key.startswith(("online", "bulk")) for load in loads]
        return {
            "online_vs_merge_1m": _ratio(rate["online"]["1m"], rate["merge"]["1m"]),
            "online_vs_py2neo_1m": _ratio(rate["online"]["1m"], rate["py2neo"]["1m"]),
            "online_flat_5m": _flatness(self.loads.get("online 5m", [])),
            "bulk_vs_online_5m": _ratio(rate["bulk"]["5m"], rate["online"]["5m"]),
            "client_rss_gb": max(online, default=None),
            "edges_per_s": rate,
            "query_ms": self.questions,
            "online_vs_merge_100k": _ratio(rate["online"]["100k"], rate["merge"]["100k"]),
            "online_vs_py2neo_100k": _ratio(rate["online"]["100k"], rate["py2neo"]["100k"]),
            "server_s": {what: round(float(np.median(times)), 1) for what, times in self.server_s.items() if times},
            "parts_s": {key: loads[-1]["parts"] for key, loads in self.loads.items() if loads[-1]["parts"]},
            "rss_gb": {key: max(load["rss_gb"] for load in loads) for key, loads in self.loads.items()},
            "cores": os.cpu_count(),
            "errors": self.errors,
        }

    def _rate(self, method: str, size: str) -> float | None:
        loads = self.loads.get(f"{method} {size}", [])
        return float(np.median([load["edges"] / load["seconds"] for load in loads])) if loads else None


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a and b else None


def _flatness(loads: list[dict[str, Any]], step: int = 500_000) -> float | None:
    """Rate of the last 500,000 edges over that of the second 500,000."""
    if not loads:
        return None
    done, seconds = np.array(loads[-1]["marks"], float).T
    edges = loads[-1]["edges"]
    second = step / (np.interp(2 * step, done, seconds) - np.interp(step, done, seconds))
    last = step / (np.interp(edges, done, seconds) - np.interp(edges - step, done, seconds))
    return float(last / second)


def _write_behaviors(root: Path) -> None:
    """Two behaviours with three seeds each, so that the questions about behaviours have something to answer."""
    import pyarrow.parquet as pq

    ids = pq.read_table(root / "features.parquet", columns=["id"])["id"].to_pylist()
    behaviors = [
        {
            "name": name,
            "prompts": ["a prompt"],
            "metric": "logit difference",
            "clean": 2.0,
            "ablated": 0.5,
            "confirmed": True,
            "seeds": [{"id": ids[first + k], "effect": 1 / (k + 1), "rank": k + 1} for k in range(3)],
        }
        for name, first in (("one", 0), ("two", 1))
    ]
    (root / "behaviors.json").write_text(json.dumps({"kind": "behaviors", "version": 1, "behaviors": behaviors}), encoding="utf-8")


def measure(bench: IngestBenchmark, method: str, size: str, warm_up: int, question_s: float) -> None:
    """One load in a process of its own; then, if asked for, all questions."""
    key = f"{method} {size}"
    root, warm = bench.run_dir(size), bench.run_dir(warm_up)
    bench.say(f"{key}: starting a server")
    with bench.home(method) as home:
        bench.say(f"{key}: loading")
        left = max(60.0, bench.end - time.monotonic())
        command = [sys.executable, "-m", "benchmarks.support.loaders", method, str(root), str(warm), str(home)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=left, check=False)
        if done.returncode:
            raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-800:]}")
        load = json.loads(done.stdout.splitlines()[-1])
        bench.loads.setdefault(key, []).append(load)
        bench.say(f"{key}: {load['edges'] / load['seconds']:,.0f} edges/s, {load['seconds']:.1f} s, client {load['rss_gb']:.2f} GB")
        bench.save()
        if question_s:
            ask_all(bench, home, root, question_s)


#: A feature with about fifty outgoing edges, as many as the mean, and the target of its strongest edge.
_TYPICAL = (
    "MATCH (r:Run {id: $run}) MATCH (a:Observation {run: r.n, layer: 5})-[:OF]->(s:Feature) "
    "WITH r, a, s, COUNT { (s)-[e:AFFECTS]->() WHERE e.run = r.n } AS degree ORDER BY abs(degree - 50), a.fid LIMIT 1 "
    "MATCH (s)-[e:AFFECTS {run: r.n}]->(t:Feature)<-[:OF]-(b:Observation {run: r.n}) "
    "RETURN a.id AS source, b.id AS target ORDER BY abs(e.strength) DESC LIMIT 1"
)


def ask_all(bench: IngestBenchmark, home: Path, root: Path, seconds: float) -> None:
    """p50 and p95 of every template on the run that was loaded last, in about so many seconds.

    Everything has its default, so most go over the whole run; motifs are asked around one feature, which is what their templates are for.
    """
    import ingest
    import queries
    from feature_graph.database import server, store

    at = server.connection(home)
    with store.connect(at.uri, at.username, at.password) as db:
        write_decoders(root)  # after the load, of which they are no part
        db.ingest(root)
        (root / "decoders.parquet").unlink()
        run = ingest.run_id(root)
        others = [one for one in db.cypher("MATCH (r:Run {status: 'ready'}) RETURN r.id AS id")["id"] if one != run]
        ends = db.cypher(_TYPICAL, run=run).iloc[0]
        values = {"run": run, "other": others[0] if others else run, "source": ends["source"], "feature": ends["source"]}
        values |= {"target": ends["target"], "behavior": "one", "text": "word"}
        end, left = time.monotonic() + seconds, len(queries.templates())
        for name, template in queries.templates().items():
            share, left = (end - time.monotonic()) / left, left - 1
            around = {"run", "other"} | ({"feature"} if template.family == "motifs" else set())
            known = {p.name: values[p.name] for p in template.parameters if p.name in values and (p.required or p.name in around)}
            known |= {"shared": {"other": "two"}, "methods_agree": {"second": "clamping"}}.get(name, {})  # there is one method
            _ask_often(bench, db, name, known, max(0.5, share))
            bench.save()


def _ask_often(bench: IngestBenchmark, db: Any, name: str, values: dict[str, Any], seconds: float, most: int = 20) -> None:
    """Ask once unmeasured, so that planning is not counted, then as often as the time allows, at least once."""
    from neo4j.exceptions import Neo4jError

    import queries

    times: list[float] = []
    begun = time.perf_counter()
    try:
        db.ask(name, timeout=QUESTION_TIMEOUT, **values)
        while not times or (len(times) < most and time.perf_counter() - begun < seconds):
            at = time.perf_counter()
            db.ask(name, timeout=QUESTION_TIMEOUT, **values)
            times.append(1000 * (time.perf_counter() - at))
    except (queries.QueryError, Neo4jError) as error:
        bench.errors[f"query {name}"] = str(error).splitlines()[0]
    if times:
        p50, p95 = np.percentile(times, [50, 95])
        bench.questions[name] = {"p50": round(float(p50), 1), "p95": round(float(p95), 1), "n": len(times)}
        bench.say(f"query {name}: p50 {p50:,.0f} ms, p95 {p95:,.0f} ms")


def run(bench: IngestBenchmark, plan: list[tuple[str, str]], warm_up: int, question_s: float) -> None:
    """The whole plan; a step that fails is noted, one for which no time is left is left out."""
    asked_at = "1m" if any(size == "1m" for _, size in plan) else "100k"
    for method, size in plan:
        if time.monotonic() > bench.end - 30:
            bench.errors.setdefault(f"{method} {size}", "no time left")
            continue
        ask = method == "online" and size == asked_at and not bench.questions
        try:
            measure(bench, method, size, warm_up, question_s if ask else 0.0)
        except (RuntimeError, OSError, ValueError, subprocess.TimeoutExpired) as error:
            bench.errors[f"{method} {size}"] = f"{type(error).__name__}: {error}"[:1000]
            bench.say(f"{method} {size} failed: {bench.errors[f'{method} {size}']}")
        bench.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="100,000 edges only; under five minutes")
    parser.add_argument("--out", type=Path, help="file for the figures, written after every step")
    parser.add_argument("--only", help="methods, joined by commas")
    parser.add_argument("--sizes", help="sizes, joined by commas: 100k,1m,5m")
    parser.add_argument("--minutes", type=float, help="no step is begun later than this (44; 4.5 with --quick)")
    parser.add_argument("--work", type=Path, help="folder for runs and databases (6 GB; a temporary one by default)")
    given = parser.parse_args()
    plan = QUICK_PLAN if given.quick else PLAN
    plan = [step for step in plan if given.only is None or step[0] in given.only.split(",")]
    plan = [step for step in plan if given.sizes is None or step[1] in given.sizes.split(",")]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="fg-bench-", dir=given.work) as folder:
        minutes = given.minutes or (4.5 if given.quick else 44.0)
        bench = IngestBenchmark(Path(folder), given.out, time.monotonic() + 60 * minutes)
        try:
            run(bench, plan, *((20_000, 45.0) if given.quick else (WARM_UP, 360.0)))
        finally:
            bench.save()
            figures = bench.figures()
            print(json.dumps(figures) if given.json else json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
