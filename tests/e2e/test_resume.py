"""A run that is killed again and again, at every kind of moment, ends with the interactions of one that was left in peace.

The child processes come from a fork server that has the heavy libraries loaded already, and end themselves by SIGKILL just before their
n-th file would be renamed into place: the moment at which most can go wrong.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pandas as pd
import pytest

from feature_graph.artifacts import RunPaths
from feature_graph.config import Config
from feature_graph.pipeline import STAGES, Manifest, stages_of, status
from tests.signals import heed_interrupts
from tests.tiny_run import write_tiny_run

pytestmark = pytest.mark.slow

#: What a run loads, heavy libraries by name: our own packages load them only where they are used.
PRELOAD = [
    "transformer_lens",
    "sae_lens",
    "numba.core.inline_closurecall",
    "plotly.graph_objects",
    "feature_graph.pipeline.stage_functions",
    "feature_graph.activations",
    "feature_graph.candidates",
    "feature_graph.coactivation",
    "feature_graph.interactions",
    "feature_graph.loading",
    "feature_graph.report",
    "feature_graph.subgraphs",
]


def run_and_die(config: Path, at_rename: int, at_file: str = "") -> None:
    """Run, and die by SIGKILL just before the given rename (never, if 0), or before a file gets its name."""
    import torch

    from feature_graph import pipeline

    torch.set_num_threads(1)
    count = itertools.count(1)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.rename" and (next(count) == at_rename or Path(str(arguments[1])).name == at_file):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    pipeline.run(Config.load(config))


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return write_tiny_run(tmp_path_factory.mktemp("tiny"), behaviors=["factual_recall"])


def attempt(server: ForkServerContext, cfg: Config, at_rename: int, at_file: str = "") -> int:
    """Exit code of one attempt in a process of its own; −9 if it was killed."""
    config = Path(cfg.output_dir).parent / f"{Path(cfg.output_dir).name}.json"
    cfg.save(config)
    child = server.Process(target=run_and_die, args=(config, at_rename, at_file))
    child.start()
    child.join(800)
    assert child.exitcode is not None
    return child.exitcode


@pytest.fixture(scope="module")
def peaceful(server: ForkServerContext, tiny: Config) -> Path:
    assert attempt(server, tiny, 0) == 0
    return Path(tiny.output_dir)


def in_place(cfg: Config, name: str) -> Config:
    return cfg.model_copy(update={"output_dir": str(Path(cfg.output_dir).parent / name)})


def same_interactions(one: Path, other: Path) -> None:
    tables = [pd.read_parquet(RunPaths.of(root).interactions) for root in (one, other)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_a_run_gives_interactions_and_all_files(peaceful: Path) -> None:
    manifest = Manifest.load(RunPaths.of(peaceful).manifest)
    assert {name: record.state for name, record in manifest.stages.items()} == {
        stage.name: "done" for stage in STAGES if stage.only_with is None
    }
    assert manifest.stages["measure"].rows == len(pd.read_parquet(RunPaths.of(peaceful).interactions)) > 0
    assert status(peaceful).complete
    assert sorted(p.name for p in peaceful.iterdir() if p.suffix in {".part", ".parts"}) == ["measure.parts"]


def kills() -> Iterator[int]:
    """After how many renames to die: long enough for progress, different each time."""
    yield from (1, 2, 3, 4, 3, 5, 4, 6, 3, 7, 5, 4)
    yield from itertools.cycle((8, 5, 6))


def test_killed_again_and_again(server: ForkServerContext, tiny: Config, peaceful: Path) -> None:
    cfg = in_place(tiny, "killed")
    died_in = []
    for at_rename in kills():
        code = attempt(server, cfg, at_rename)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        stages = Manifest.load(RunPaths.of(cfg.output_dir).manifest).stages
        died_in += [name for name, record in stages.items() if record.state == "running"]
        assert len(died_in) < 100
    assert {"collect", "candidates", "measure"} <= set(died_in)
    same_interactions(Path(cfg.output_dir), peaceful)
    assert status(cfg.output_dir).complete
    assert not list(Path(cfg.output_dir).rglob(".*.part"))


def test_killed_once_in_every_stage(server: ForkServerContext, tiny: Config, peaceful: Path) -> None:
    """With all its work done, just before its last file gets its name."""
    cfg = in_place(tiny, "every")
    for stage in stages_of(cfg):
        assert attempt(server, cfg, 0, stage.outputs[-1]) == -signal.SIGKILL
        assert Manifest.load(RunPaths.of(cfg.output_dir).manifest).stages[stage.name].state == "running"
    assert attempt(server, cfg, 0) == 0
    same_interactions(Path(cfg.output_dir), peaceful)
    assert status(cfg.output_dir).complete


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from feature_graph.cli import main; main()", *arguments]


def start_until_collecting(cfg: Config) -> subprocess.Popen[str]:
    """The command ``feature-graph run``, once its first stage has begun."""
    config = Path(cfg.output_dir).parent / f"{Path(cfg.output_dir).name}.json"
    cfg.save(config)
    child = subprocess.Popen(
        command("run", str(config)),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=heed_interrupts,
    )
    manifest = RunPaths.of(cfg.output_dir).manifest
    for _ in range(12_000):
        if manifest.is_file() and "collect" in json.loads(manifest.read_text())["stages"]:
            return child
        time.sleep(0.02)
    child.kill()
    raise AssertionError("the run did not begin")


def test_ctrl_c_says_what_is_kept_and_the_command_goes_on(tiny: Config, peaceful: Path) -> None:
    cfg = in_place(tiny, "stopped")
    child = start_until_collecting(cfg)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=400)
    assert child.returncode == 130, said
    assert f"go on with: feature-graph run {cfg.output_dir}" in " ".join(said.split())
    assert "Traceback" not in said
    assert Manifest.load(RunPaths.of(cfg.output_dir).manifest).stages["collect"].state == "interrupted"
    subprocess.run(command("-q", "run", cfg.output_dir), check=True, capture_output=True, timeout=800, env=ENVIRONMENT)
    same_interactions(Path(cfg.output_dir), peaceful)


def test_an_up_to_date_run_loads_no_model(tiny: Config, peaceful: Path) -> None:
    code = (
        "import sys\nfrom feature_graph import pipeline\nfrom feature_graph.config import Config\n"
        "result = pipeline.run(Config.load(sys.argv[1]))\n"
        "print(result.done, [name for name in ('torch', 'transformer_lens', 'sae_lens', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(peaceful / "config.json")], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
