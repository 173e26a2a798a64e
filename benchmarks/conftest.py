"""Runs benchmarks in two dtypes, beside their peers, and prints one table of at most 100 columns for each section.

A new row calls ``measuring.measure``, whose ``info`` is described in ``fastpose.evaluation.benchmark_table``. Test
functions take parameters of these names, whose values come from here:

- ``dtype``: "fp32", and "bf16" where the processor has bf16 instructions (an emulated product takes minutes), or where
  the module's ``HAS_BF16`` says that what it measures has them.
- ``who``, together with ``dtype``: "fastpose" and "strong" in each dtype, and "peer" in fp32. The peer is what
  users run today, with the memory allocation of glibc; strong is what a good engineer makes of it in two lines:
  channels_last_3d, kept freed memory, torch.compile, autocast where the row is bf16.
- ``work`` and ``size``: each name of the module's ``SIZES`` with each of its (batch, threads), None being all cores.
- ``threads``: those of ``THREADS``, or of ``SIZES``.

A model runs where, and in the memory format in which, ``fastpose.system.placement.Placement`` places it. Floors are in
the dtype, and with the threads, of the rows that are compared to them.
"""

import os

import pytest
import torch
from measuring import size_name

from fastpose.evaluation.benchmark_table import MACHINE, Row, format_table, sections, table
from fastpose.system.allocator import keep_freed_memory
from fastpose.system.environment import cpu_has_bf16, summary

CORES = len(os.sched_getaffinity(0))
FIRST = [
    "train",
    "steps",
    "motionbert",
    "contrastive",
    "predict",
    "int8",
    "decode",
    "sample",
    "render",
    "stem",
    "layers",
]
WHO = (("fastpose", "fp32"), ("peer", "fp32"), ("strong", "fp32"), ("fastpose", "bf16"), ("strong", "bf16"))
OWN_TABLES = ("--benchmark-columns", "--benchmark-cprofile")  # ask for pytest-benchmark's, which are wide
NO_BF16 = "bf16, for which this processor has no instructions (--bf16 measures it nevertheless)"


def pytest_addoption(parser):
    group = parser.getgroup("fastpose")
    group.addoption("--batch", type=int, help="clips of a batch, instead of those of the modules' SIZES")
    group.addoption("--threads", type=int, help="threads, instead of those of the modules' SIZES and THREADS")
    group.addoption("--bf16", action="store_true", help="rows in bf16 where the processor emulates it, too")


@pytest.hookimpl(trylast=True)  # after the marks of a function, so that peers are timed in turn with fastpose
def pytest_generate_tests(metafunc):
    names, module = metafunc.fixturenames, metafunc.module
    own_batch, own_threads, own_bf16 = (
        metafunc.config.getoption(name, None) for name in ("batch", "threads", "bf16")
    )
    cases = {
        (work, (own_batch or batch, own_threads or threads or CORES)): None
        for work, sizes in getattr(module, "SIZES", {}).items()
        for batch, threads in sizes
    }
    if "size" in names:
        ids = [f"{work} {size_name(size)}" for work, size in cases]
        metafunc.parametrize(("work", "size"), list(cases), ids=ids)
    elif "threads" in names and (cases or hasattr(module, "THREADS")):
        counts = [own_threads] if own_threads else getattr(module, "THREADS", ())
        counts = sorted({*counts, *(threads for _, (_, threads) in cases)})
        metafunc.parametrize("threads", counts, ids=[f"T{count}" for count in counts])
    bf16 = cpu_has_bf16() or own_bf16 or getattr(module, "HAS_BF16", False)
    marks = {"fp32": (), "bf16": pytest.mark.skipif(not bf16, reason=NO_BF16)}
    if "who" in names:
        values = [pytest.param(who, dtype, marks=marks[dtype]) for who, dtype in WHO]
        metafunc.parametrize(("who", "dtype"), values)
    elif "dtype" in names:
        metafunc.parametrize("dtype", [pytest.param(dtype, marks=marks[dtype]) for dtype in marks])


def pytest_collection_modifyitems(items):
    order = {f"bench_{name}": i for i, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(autouse=True)
def surroundings(request):
    """Give a benchmark its threads, and the memory allocation of fastpose's training, whatever ran before."""
    values = getattr(getattr(request.node, "callspec", None), "params", {})
    before = torch.get_num_threads()
    threads = values["size"][1] if "size" in values else values.get("threads", before)
    if threads > CORES:
        pytest.skip(f"{threads} threads, which are more than this machine has cores")
    torch.set_num_threads(threads)
    keep_freed_memory()
    yield
    torch.set_num_threads(before)


def pytest_benchmark_update_machine_info(machine_info):
    machine_info[MACHINE] = summary()


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    if session is None or not session.benchmarks:
        return
    asked = any(word.startswith(OWN_TABLES) for word in config.invocation_params.args)
    session.quiet = session.quiet or not (asked or session.verbose)
    rows = [
        Row(item.name, item.group or "other", item.stats.median, item.extra_info)
        for item in session.benchmarks
    ]
    terminalreporter.section("medians of this run")
    terminalreporter.write_line(summary())
    skipped = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", ())]
    for reason in dict.fromkeys(text.removeprefix("Skipped: ") for text in skipped):
        terminalreporter.write_line(f"left out: {reason}")
    for name, members in sections(rows).items():
        terminalreporter.write_line(f"\n{name}\n{format_table(table(members))}")
