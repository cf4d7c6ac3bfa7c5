"""Data sets of the hub off-line, by name: as ``datasets`` prepares them and as the hub's client downloads them."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from feature_graph.config import Config
from ingest.provenance import dataset_uid

CODE = '''
import json, shutil, sys
from pathlib import Path
import datasets, pandas as pd
from huggingface_hub import constants
from feature_graph.config import Config
from feature_graph.loading import LoadingError, OfflineError
from feature_graph.loading.text import load_texts

datasets.disable_progress_bars()
work, cache, hub = Path(sys.argv[1]), Path(datasets.config.HF_DATASETS_CACHE), Path(constants.HF_HUB_CACHE)

def prepare(folder, prefix, config, bodies, field="text"):
    """What load_dataset leaves, made from a file and renamed."""
    frame = pd.DataFrame({field: bodies})
    frame.to_parquet(work / "train.parquet"), frame[:1].to_parquet(work / "test.parquet")
    shutil.rmtree(cache / "parquet", ignore_errors=True)
    datasets.load_dataset("parquet", data_files={s: str(work / f"{s}.parquet") for s in ("train", "test")})
    made = next((cache / "parquet").iterdir())
    for arrow in made.rglob("parquet-*.arrow"):
        arrow.rename(arrow.with_name(arrow.name.replace("parquet", prefix, 1)))
    (cache / folder).mkdir(exist_ok=True)
    made.rename(cache / folder / config)

def download(repo, files, ref="main"):
    """What the hub's client leaves: a snapshot folder, files as they are."""
    base = hub / ("datasets--" + repo.replace("/", "--"))
    (base / "refs").mkdir(parents=True)
    (base / "refs" / ref).write_text("a" * 40)
    for name, bodies in files.items():
        path = base / "snapshots" / ("a" * 40) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(bodies, str):
            path.write_text(bodies)
        elif name.endswith(".parquet"):
            pd.DataFrame({"text": bodies}).to_parquet(path)
        else:
            path.write_text("".join(json.dumps({"text": b}) + "\\n" for b in bodies))
    return base / "snapshots" / ("a" * 40)

prepare("someone___one", "one", "default", ["a", None, "b"])
prepare("someone___tiny_stories", "tiny_stories", "default", ["a", "b"])
prepare("someone___wiki", "wiki", "w-2", ["a", "b"])
prepare("someone___two", "two", "w-2", ["a", "b"])
prepare("someone___two", "two", "w-103", ["c", "d", "e"])
prepare("someone___ids", "ids", "default", [[3, 4], [5]], "input_ids")
prepare("someone___chat", "chat", "default", [[{"role": "user", "content": "a"}]], "messages")
shards = {"data/train-00000-of-00002.parquet": ["a"], "data/train-00001-of-00002.parquet": ["b"], "data/test-00000-of-00001.parquet": ["c"]}
folder = download("someone/shards", shards | {"README.md": "about"})
download("someone/lines", {"train.jsonl": ["a", "b"], "test.jsonl": ["c"]}, ref="v2")
card = "---\\nconfigs:\\n- config_name: en\\n  data_files: en/*.jsonl\\n- config_name: fr\\n  data_files: fr/*.jsonl\\n---\\n"
languages = download("someone/languages", {"README.md": card, "en/a.jsonl": ["a"], "fr/a.jsonl": ["b"]})
download("someone/empty", {"README.md": "nothing else was fetched"})

answers = {}
for key, cfg in json.loads(sys.argv[2]).items():
    cfg["dataset"] = cfg["dataset"].replace("SHARDS", str(folder)).replace("LANGUAGES", str(languages))
    try:
        texts = load_texts(Config(**cfg))
        answers[key] = sorted(t.body if t.tokens is None else str(t.tokens.tolist()) for t in texts)
    except (LoadingError, OfflineError) as error:
        answers[key] = f"{type(error).__name__}: {error}"
print(json.dumps(answers))
'''

CASES = {
    "one": ({"dataset": "someone/one"}, ["a", "b"]),
    "capital letters": ({"dataset": "someone/TinyStories"}, ["a", "b"]),
    "another split": ({"dataset": "someone/one", "dataset_split": "test"}, ["a"]),
    "slice": ({"dataset": "someone/TinyStories", "dataset_split": "train[:1]"}, ["a"]),
    "no such split": ({"dataset": "someone/one", "dataset_split": "dev"}, "someone/one (split dev) cannot be read: Unknown split"),
    "one configuration": ({"dataset": "someone/wiki"}, ["a", "b"]),
    "named": ({"dataset": "someone/two", "dataset_config": "w-103"}, ["c", "d", "e"]),
    "none named": ({"dataset": "someone/two"}, "someone/two has 2 configurations: w-103, w-2; name one (dataset_config)"),
    "not there": (
        {"dataset": "someone/two", "dataset_config": "w-1"},
        "has no configuration 'w-1' here (dataset_config); there are ['w-103', 'w-2']",
    ),
    "ids": ({"dataset": "someone/ids", "dataset_text_field": "input_ids"}, ["[3, 4]", "[5]"]),
    "ids by default": (
        {"dataset": "someone/ids"},
        "someone/ids has no field 'text' (dataset_text_field); it has ['input_ids']; set dataset_text_field: input_ids?",
    ),
    "chat": ({"dataset": "someone/chat", "dataset_text_field": "messages"}, ["user: a"]),
    "downloaded": ({"dataset": "someone/shards"}, ["a", "b"]),
    "downloaded, a split": ({"dataset": "someone/shards", "dataset_split": "test"}, ["c"]),
    "downloaded, at another revision": ({"dataset": "someone/lines"}, ["a", "b"]),
    "downloaded, a configuration": ({"dataset": "someone/languages", "dataset_config": "fr"}, ["b"]),
    "downloaded, none named": (
        {"dataset": "someone/languages"},
        "someone/languages has 2 configurations: en, fr; name one (dataset_config)",
    ),
    "the folder itself": ({"dataset": "SHARDS"}, ["a", "b"]),
    "a folder with configurations": ({"dataset": "LANGUAGES", "dataset_config": "en"}, ["a"]),
    "only the card was fetched": ({"dataset": "someone/empty"}, "LoadingError: dataset: someone/empty (split train) cannot be read"),
    "not there at all": ({"dataset": "someone/else"}, "OfflineError: dataset someone/else: someone/else is not in the cache"),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    env = {"HF_HOME": str(root / "home"), "PATH": "/usr/bin", "HTTPS_PROXY": "http://127.0.0.1:9", "OMP_NUM_THREADS": "1"}
    asked = json.dumps({key: cfg for key, (cfg, _) in CASES.items()})
    command = [sys.executable, "-c", textwrap.dedent(CODE), str(root), asked]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_data_sets_of_the_hub_off_line(answers, case):
    expected = CASES[case][1]
    if isinstance(expected, list):
        assert answers[case] == expected
    else:
        assert expected in answers[case]
        assert "\n" not in answers[case]


def test_two_configurations_are_two_texts_in_the_graph():
    assert dataset_uid(Config(dataset="a/b", dataset_config="c").model_dump()) == "a/b/c/train"
    assert dataset_uid(Config(dataset="a/b").model_dump()) == dataset_uid({"dataset": "a/b"}) == "a/b/train"
