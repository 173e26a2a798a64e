"""Runs tests/fake_cuda in a process that takes torch without CUDA for one with a device: see support.fake_cuda."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parent / "fake_cuda"
TORCH = Path(torch.__file__).parent
RUN = "import ctypes, sys; ctypes.CDLL(sys.argv.pop(1)); import pytest; sys.exit(pytest.main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("g++")
    if compiler is None or torch.version.cuda is not None:
        pytest.skip("needs g++, and torch built without CUDA: pip install -c constraints.txt torch")
    path = tmp_path_factory.mktemp("fake_cuda") / "cuda.so"
    includes = [f"-I{TORCH / 'include'}", f"-I{TORCH / 'include/torch/csrc/api/include'}"]
    libraries = [f"-L{TORCH / 'lib'}", f"-Wl,-rpath,{TORCH / 'lib'}", "-lc10", "-ltorch_cpu", "-ltorch"]
    sources = [FOLDER / "cuda.cpp", "-o", path]
    subprocess.run([compiler, "-std=c++20", "-shared", "-fPIC", *includes, *sources, *libraries], check=True)
    return path


@pytest.mark.parametrize("path", sorted(FOLDER.glob("fake_*.py")), ids=lambda path: path.stem)
def test_fake_cuda(library, path):
    options = ["-q", "-p", "no:cacheprovider", "-o", "python_files=fake_*.py"]
    run = subprocess.run(
        [sys.executable, "-c", RUN, library, *options, path],
        cwd=FOLDER.parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
