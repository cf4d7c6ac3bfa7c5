"""Errors: one base for each package, with the exit code that the command line ends with."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import click
import pytest

from feature_graph.cli import common

ROOT = Path(__file__).parents[2]
BASES = {
    "feature_graph.activations": "CollectError",
    "feature_graph.analysis": "AnalysisError",
    "feature_graph.artifacts": "ArtifactError",
    "feature_graph.candidates": "CandidateError",
    "feature_graph.coactivation": "CoactivationError",
    "feature_graph.config": "ConfigError",
    "feature_graph.database": "GraphDatabaseError",
    "feature_graph.dictionaries": "LoadingError",
    "feature_graph.evaluation": "EvaluationError",
    "feature_graph.graph": "InteractionGraphError",
    "feature_graph.interactions": "MeasureError",
    "feature_graph.interventions": "InterventionError",
    "feature_graph.loading": "LoadingError",
    "feature_graph.motifs": "MotifError",
    "feature_graph.pipeline": "PipelineError",
    "feature_graph.stats": "StatisticsError",
    "feature_graph.steering": "SteeringError",
    "feature_graph.subgraphs": "SubgraphError",
    "feature_graph.visualization": "VisualizationError",
    "ingest": "IngestError",
    "queries": "QueryError",
}
MISTYPED = {
    "AnalysisError",
    "BehaviorError",
    "BenchmarkError",
    "UnknownTemplate",
    "AddressError",
    "AddressRefused",
    "CalibrationError",
    "ConfigError",
    "FeatureIdError",
    "NotEncrypted",
    "ParameterError",
    "PatternError",
    "ProgramError",
    "SelectionError",
    "SiteError",
    "StageError",
    "VisualizationError",
}


def error_classes() -> list[type[Any]]:
    """Every public class of the packages that is an error."""
    found = []
    for path in sorted(path for package in ("feature_graph", "ingest", "queries") for path in (ROOT / package).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        bases = {node.name: {ast.unparse(base) for base in node.bases} for node in tree.body if isinstance(node, ast.ClassDef)}
        likely = [name for name, of in bases.items() if of - {"Protocol", "TypedDict", "NamedTuple", "StrEnum", "IntEnum", "BaseModel"}]
        if likely:
            module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
            found += [kind for name in likely if issubclass(kind := getattr(module, name), Exception)]
    return found


def test_every_error_has_the_base_of_its_package_and_an_exit_code() -> None:
    found = error_classes()
    for kind in found:
        top = kind.__module__.split(".")
        package = ".".join(top[:2]) if top[0] == "feature_graph" else top[0]
        assert BASES[package] in {base.__name__ for base in kind.__mro__}, f"{kind.__module__}.{kind.__name__}"
        assert issubclass(kind, RuntimeError | ValueError) or kind.__name__ == "PipelineError"
    assert set(BASES.values()) <= {kind.__name__ for kind in found}
    assert {kind.__name__ for kind in found if kind.exit_code == 2} == MISTYPED
    assert {kind.exit_code for kind in found} == {1, 2}


@pytest.mark.parametrize(
    ("error", "code"),
    [(OSError(2, "gone"), 1), (ValueError("a fault"), None), (KeyError("a"), None), (click.UsageError("wrong"), None)],
    ids=lambda value: type(value).__name__,
)
def test_only_the_system_s_errors_and_those_of_the_packages_are_news(error: Exception, code: int | None) -> None:
    assert common.exit_code(error) == code


def test_a_subclass_of_another_program_counts() -> None:
    from queries import ParameterError

    class Theirs(ParameterError):
        pass

    assert common.exit_code(Theirs("x")) == 2


#: Where a built-in error is raised and does not reach the command line: pydantic's validators, errors that the same module words anew,
#: and arguments that only Python gives.
PLAIN = {
    "feature_graph/config.py",
    "feature_graph/database/offline/dumps.py",
    "feature_graph/utils.py",
    "ingest/behaviors.py",
    "ingest/validate.py",
}


def test_no_other_module_raises_a_plain_value_error() -> None:
    found = set()
    for path in sorted(path for package in ("feature_graph", "ingest", "queries") for path in (ROOT / package).rglob("*.py")):
        raised = [node.exc for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Raise)]
        names = {call.func.id for call in raised if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)}
        if names & {"ValueError", "RuntimeError", "Exception"}:
            found.add(path.relative_to(ROOT).as_posix())
    assert found == PLAIN
