"""Imports run one way: a folder imports folders above it in this list, and itself."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fastpose"
CORE = PACKAGE.parent / "csrc"
FOLDERS = (
    "settings",
    "system",
    "ops",
    "data",
    "drawing",
    "video",
    "models",
    "weights",
    "evaluation",
    "training",
    "reproduction",
    "sweeps",
    "prediction",
    "commands",
)
SHARED = ("__init__", "_lazy", "_native")  # which any folder may import
MODULES = sorted(PACKAGE.rglob("*.py"))


def folder_of(module: str) -> str:
    """The folder of a module "fastpose.data.pack.packed"; files beside the folders are commands, or shared."""
    first = module.split(".")[1] if "." in module else "__init__"
    return first if first in FOLDERS else "shared" if first in SHARED else "commands"


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write imports in full"
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            names.update(part if exists(part) else node.module for part in parts)
    return names


def exists(module: str) -> bool:
    """Whether it is a module or package of fastpose, and not a name that a module defines."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_folders(path):
    own = folder_of(module_of(path))
    for name in imported_modules(path):
        if not name.startswith("fastpose.") or not exists(name):
            continue  # another package, or a name that a module defines
        target = folder_of(name)
        if target == "shared" or own == target:
            continue
        assert own != "shared", f"{path.name} imports {name}, and everything imports it"
        assert FOLDERS.index(target) < FOLDERS.index(own), (
            f"{path} imports {name} against the order of folders"
        )


def test_modules_import_in_no_circle():
    imports = {module_of(path).removesuffix(".__init__"): imported_modules(path) for path in MODULES}
    left = {
        module: {name for name in names if name in imports} - {module} for module, names in imports.items()
    }
    while ready := [module for module, names in left.items() if not names & left.keys()]:
        for module in ready:
            del left[module]
    assert not left, "these modules import each other, type hints included"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_one_importer_of_the_extension_and_of_triton(path):
    names = imported_modules(path)
    if path.name != "_native.py":
        assert not any(name.startswith("fastpose._C") for name in names)
    if not path.name.startswith("kernels"):
        assert not any(name.split(".")[0] == "triton" for name in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_private_names_of_other_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("fastpose."):
            private = [alias.name for alias in node.names if alias.name.startswith("_")]
            assert not private, f"{path.name}:{node.lineno} imports {private} of {node.module}"


def test_only_bindings_know_pybind11():
    for path in CORE.rglob("*.?pp"):
        if "bindings" not in path.stem and path.parent.name != "bindings":
            text = path.read_text()
            assert "pybind11" not in text
            assert "torch/" not in text
            assert "Python.h" not in text
