"""Prints all benchmarks of a run as one table for each section (see fastpose.evaluation.benchmark_table)."""

import pytest

from fastpose.evaluation.benchmark_table import Row, format_table, sections, table
from fastpose.system.allocator import keep_freed_memory


def pytest_configure(config):
    config.addinivalue_line("markers", "as_today: a peer, with the memory allocation that its users have")


@pytest.fixture(autouse=True)
def allocation(request):
    """fastpose's training keeps freed memory, as the benchmarks do; peers have what glibc does by itself."""
    keep_freed_memory(request.node.get_closest_marker("as_today") is None)
    yield
    keep_freed_memory()


def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    if session is None or not session.benchmarks:
        return
    rows = [
        Row(item.name, item.group or "other", item.stats.median, item.extra_info)
        for item in session.benchmarks
    ]
    terminalreporter.section("throughput (medians of this run)")
    for name, members in sections(rows).items():
        terminalreporter.write_line(f"\n{name}\n{format_table(table(members))}")
