"""Imports run one way: data -> ops -> models -> losses -> training -> commands."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fastpose"
RANKS = {
    **dict.fromkeys(
        [
            "__init__",
            "_lazy",
            "_native",
            "_files",
            "_command",
            "_openmp",
            "config",
            "config_files",
            "presets",
        ],
        0,
    ),
    "data": 1,
    "ops": 2,
    "models": 3,
    **dict.fromkeys(["losses", "metrics", "loggers", "environment", "precision", "benchmark_table"], 4),
    **dict.fromkeys(["allocator", "averaging", "early_stop", "memory", "schedules"], 4),
    "checkpoint": 5,
    **dict.fromkeys(
        ["robustness", "scoring", "tasks", "accumulation", "training_step", "step_compiler", "step_graph"], 6
    ),
    "batch_size": 7,
    **dict.fromkeys(
        ["trainer", "experiment", "evaluation", "exporting", "foreign", "prediction", "prediction_files"], 7
    ),
    **dict.fromkeys(["train", "evaluate", "pack", "report", "predict", "env", "export"], 8),
}
COMMANDS = {name for name, rank in RANKS.items() if rank == 8}
MODULES = sorted(PACKAGE.rglob("*.py"))


def subject(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write imports in full"
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_data(path):
    rank = RANKS[subject(path)]
    for name in imported_modules(path):
        if not name.startswith("fastpose."):
            continue
        target = name.split(".")[1]
        if target not in RANKS:
            continue  # a name defined in fastpose/__init__.py
        assert RANKS[target] <= rank, f"{path.name} imports {name} against the direction of the data"
        assert target not in COMMANDS or target == subject(path), f"{path.name} imports the command {target}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_one_importer_of_the_extension_and_of_triton(path):
    names = imported_modules(path)
    if path.name != "_native.py":
        assert not any(name.startswith("fastpose._C") for name in names)
    if path.name != "kernels.py":
        assert not any(name.split(".")[0] == "triton" for name in names)


def test_only_bindings_know_pybind11():
    for path in (PACKAGE.parent / "csrc").iterdir():
        if not path.stem.endswith("bindings"):
            text = path.read_text()
            assert "pybind11" not in text
            assert "torch/" not in text
            assert "Python.h" not in text
