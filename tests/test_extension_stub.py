"""fastpose/_C.pyi against the compiled extension, whose signatures pybind11 writes into its docstrings."""

import ast
import re
from pathlib import Path
from types import ModuleType

import pytest

import fastpose
from fastpose._native import native

STUB = ast.parse((Path(fastpose.__file__).parent / "_C.pyi").read_text())

pytestmark = pytest.mark.skipif(
    native is None, reason="needs the compiled extension: pip install -e . with a C++20 compiler"
)


def is_public(name: str) -> bool:
    return not name.startswith("_") or name == "__init__"


def stub_names(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """The public names that statements of the stub define: functions, classes, properties and members."""
    names: dict[str, ast.stmt] = {}
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names[statement.name] = statement
        elif isinstance(statement, ast.AnnAssign):
            names[ast.unparse(statement.target)] = statement
    return {name: statement for name, statement in names.items() if is_public(name)}


def extension_names(owner: ModuleType | type) -> dict[str, object]:
    return {name: value for name, value in vars(owner).items() if is_public(name)}


def signature(function: ast.FunctionDef) -> list[tuple[str, bool, str | None, list[str]]]:
    """Of each parameter: its name, whether it is keyword-only, its default, and the types that matter.

    pybind11 writes ``SupportsInt | SupportsIndex`` for int, so only classes, dtypes, bool and None are compared.
    """
    classes = "|".join(vars(native))
    positional = [*function.args.posonlyargs, *function.args.args]
    defaults = [None] * (len(positional) - len(function.args.defaults)) + function.args.defaults
    rows = [(arg, False, default) for arg, default in zip(positional, defaults, strict=True)]
    keywords = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    rows += [(arg, True, default) for arg, default in keywords]
    return [
        (
            arg.arg,
            keyword,
            None if default is None else ast.unparse(default),
            re.findall(rf"\b(?:{classes}|bool|None|u?int\d+|float\d+)\b", ast.unparse(arg.annotation))
            if arg.annotation is not None and arg.arg != "self"
            else [],
        )
        for arg, keyword, default in rows
    ]


def assert_agree(name: str, stub: ast.stmt, value: object) -> None:
    if isinstance(value, type):
        assert isinstance(stub, ast.ClassDef), f"{name} is a class"
        members, found = stub_names(stub.body), extension_names(value)
        assert members.keys() == found.keys(), f"the members of {name}"
        for member in members:
            assert_agree(f"{name}.{member}", members[member], found[member])
    elif isinstance(value, property) or not callable(value):
        is_property = isinstance(stub, ast.FunctionDef) and "property" in map(
            ast.unparse, stub.decorator_list
        )
        assert is_property or isinstance(stub, ast.AnnAssign), f"{name} is no function"
    else:
        assert isinstance(stub, ast.FunctionDef), f"{name} is a function"
        (written,) = ast.parse(f"def {value.__doc__.splitlines()[0]}: ...").body
        assert signature(stub) == signature(written), f"the parameters of {name}"


def test_the_stub_names_what_the_extension_has():
    assert stub_names(STUB.body).keys() == extension_names(native).keys()


@pytest.mark.parametrize("name", sorted(stub_names(STUB.body)))
def test_the_stub_agrees_with_the_extension(name):
    assert_agree(name, stub_names(STUB.body)[name], getattr(native, name))


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("threads: int = 1", "threads: int = 2"),
        ("threads: int = 1", "thread: int = 1"),
        ("offsets: NDArray[np.int64],\n    num", "offsets: NDArray[np.int32],\n    num"),
    ],
)
def test_a_wrong_stub_is_noticed(text, other):
    source = (Path(fastpose.__file__).parent / "_C.pyi").read_text()
    assert text in source
    wrong = stub_names(ast.parse(source.replace(text, other)).body)["total_differences"]
    with pytest.raises(AssertionError, match="the parameters of total_differences"):
        assert_agree("total_differences", wrong, native.total_differences)
