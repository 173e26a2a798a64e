"""Every launch of a Triton kernel says whether products and sums may fuse: Triton's versions differ in the default."""

import ast
from pathlib import Path

import pytest
import torch

from fastpose.ops.launch import launch

PACKAGE = Path(__file__).resolve().parents[2] / "fastpose"
CALLS = [
    (path, node)
    for path in sorted(PACKAGE.rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.Call)
]
LAUNCHES = [
    (path, node)
    for path, node in CALLS
    if isinstance(node.func, ast.Name | ast.Attribute) and ast.unparse(node.func).split(".")[-1] == "launch"
]


@pytest.mark.parametrize(
    ("path", "call"), LAUNCHES, ids=[f"{path.stem}-{node.lineno}" for path, node in LAUNCHES]
)
def test_launches_say_so(path, call):
    stated = [keyword.value for keyword in call.keywords if keyword.arg == "enable_fp_fusion"]
    assert len(stated) == 1, f"{path}:{call.lineno}: enable_fp_fusion is missing"
    assert isinstance(stated[0], ast.Constant)
    assert isinstance(stated[0].value, bool)


def test_no_kernel_is_launched_another_way():
    """Folders with kernels launch them, and never as ``kernel[grid](...)``."""
    folders = {path.parent for path in PACKAGE.rglob("*.py") if "@triton.jit" in path.read_text()}
    assert folders == {path.parent for path, _ in LAUNCHES}
    assert not [
        path for path, call in CALLS if path.parent in folders and isinstance(call.func, ast.Subscript)
    ]


@pytest.mark.parametrize("fused", [False, True])
def test_a_kernel_is_told(fused):
    class Kernel:
        def __getitem__(self, grid):
            return lambda *arguments, **meta: launched.append((grid, arguments, meta))

    launched: list[tuple] = []
    x = torch.zeros(2)
    launch(Kernel(), (3,), x, 5, enable_fp_fusion=fused, num_warps=1)
    assert launched == [((3,), (x, 5), {"enable_fp_fusion": fused, "num_warps": 1})]
    with pytest.raises(TypeError, match="enable_fp_fusion"):
        launch(Kernel(), (3,), x)  # pyright: ignore[reportCallIssue]
