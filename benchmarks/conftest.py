"""One table for all benchmarks: rates, and ratios to the peer and to the floor measured in the same run.

A benchmark says in ``benchmark.extra_info`` how much one call does, as ``clips`` and / or ``bytes``; its group
(``@pytest.mark.benchmark(group=...)``) is a section of the table. In each group, rows with ``role`` "peer" are
what users run today and rows with ``role`` "floor" what the machine allows; the others are compared to them.
"""

from collections import defaultdict


def rate(row) -> float:
    """Return what one second does: clips, or bytes where a benchmark counts no clips."""
    return row.extra_info.get("clips", row.extra_info.get("bytes", 1)) / row.stats.median


def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    if session is None or not session.benchmarks:
        return
    groups = defaultdict(list)
    for row in session.benchmarks:
        groups[row.group or "other"].append(row)
    line = terminalreporter.write_line
    terminalreporter.section("throughput (medians of one run)")
    width = max(len(row.name) for row in session.benchmarks) + 2
    for group, rows in groups.items():
        peers = [row for row in rows if row.extra_info.get("role") == "peer"]
        floors = [row for row in rows if row.extra_info.get("role") == "floor"]
        line("")
        line(f"{group:<{width}}{'ms':>10}{'clips/s':>11}{'MB/s':>10}{'× peer':>9}{'% floor':>9}  note")
        for row in rows:
            info = row.extra_info
            cells = [f"{row.stats.median * 1e3:10.3f}"]
            cells.append(f"{info['clips'] / row.stats.median:11,.0f}" if "clips" in info else " " * 11)
            cells.append(f"{info['bytes'] / row.stats.median / 1e6:10,.0f}" if "bytes" in info else " " * 10)
            peer = match(row, peers)
            cells.append(f"{rate(row) / rate(peer):9.1f}" if peer and peer is not row else " " * 9)
            floor = match(row, floors)
            share = 100 * bytes_rate(row) / bytes_rate(floor) if floor and floor is not row else None
            cells.append(f"{share:9.0f}" if share is not None else " " * 9)
            line(f"{row.name:<{width}}{''.join(cells)}  {info.get('note', '')}")


def bytes_rate(row) -> float:
    return row.extra_info.get("bytes", row.extra_info.get("clips", 1)) / row.stats.median


def match(row, candidates):
    """Return the candidate that does the same work: equal ``case``, else the first without one."""
    case = row.extra_info.get("case")
    same = [other for other in candidates if other.extra_info.get("case") == case]
    general = [other for other in candidates if "case" not in other.extra_info]
    return (same or general or [None])[0]
