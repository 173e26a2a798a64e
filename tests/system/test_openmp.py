"""When OpenMP's threads are told to sleep where they wait, OpenBLAS to use one, and that both hear so."""

import os
import subprocess
import sys

import pytest

from fastpose.system.openmp import SPINS, keep_blas_alone, share_processors


@pytest.mark.parametrize(
    ("load", "processors", "ours", "shares"),
    [(0.0, 2, 2, False), (0.4, 2, 2, False), (0.6, 2, 2, True), (30.0, 64, 2, False), (63.0, 64, 2, True)],
)
def test_only_a_busy_machine_is_shared(load, processors, ours, shares, monkeypatch):
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(ours)))
    share_processors()
    assert os.environ == ({"GOMP_SPINCOUNT": SPINS} if shares else {})


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_whoever_chose_is_obeyed(name, monkeypatch):
    monkeypatch.setattr(os, "environ", {name: "7"})
    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 99.0, 99.0))
    share_processors()
    assert os.environ == {name: "7"}


def test_a_system_that_does_not_say_is_left_alone(monkeypatch):
    def unobtainable():
        raise OSError("load averages are unobtainable")

    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(os, "getloadavg", unobtainable)
    share_processors()
    assert os.environ == {}


def test_openmp_hears_it():
    code = (
        "import os; os.getloadavg = lambda: (99.0, 99.0, 99.0)\n"
        "from fastpose._command import Command\n"
        "with Command(): import torch"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    shown = subprocess.run(
        [sys.executable, "-c", code], env={**environment, "OMP_DISPLAY_ENV": "VERBOSE"}, capture_output=True,
        text=True, check=True,
    ).stderr  # fmt: skip
    if "GOMP_SPINCOUNT" not in shown:
        pytest.skip("torch's OpenMP is not GNU's: install torch from PyPI on Linux")
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in shown


@pytest.mark.parametrize(("given", "kept"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")])
def test_blas_is_left_one_thread(given, kept, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(given))
    keep_blas_alone()
    assert os.environ == {"OPENBLAS_NUM_THREADS": kept}


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="threads are listed in /proc, which Linux has"
)
def test_openblas_hears_it():
    code = (
        "from fastpose._command import Command\n"
        "with Command(): import os, numpy; print(len(os.listdir('/proc/self/task')))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "1\n"
