"""Bytes that live within a computation, and those that a system has left."""

import resource
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastpose.system.memory import LiveBytes, available_memory, format_bytes, is_out_of_memory, peak_memory

CPU = torch.device("cpu")
FREE_OF_MACHINE = 8_000_000 * 1024


@given(st.lists(st.tuples(st.integers(1, 1000), st.booleans()), max_size=20))
def test_peak_is_the_most_that_lived_at_once(steps):
    alive, live, peak = [], 0, 0
    with LiveBytes() as counter:
        for size, free_first in steps:
            if free_first and alive:
                live -= alive.pop(0).nbytes
            alive.append(torch.zeros(size))
            live += 4 * size
            peak = max(peak, live)
            assert counter.live == live
    assert counter.peak == peak


def test_what_was_there_before_and_views_are_not_counted():
    weight = torch.ones(100, 100, requires_grad=True)
    with LiveBytes() as counter:
        weight.detach().view(-1)[::2].add_(1)
        assert counter.peak == 0
        x = weight.t() @ weight
        assert counter.live == x.nbytes


def test_the_backward_pass_is_seen():
    weight = torch.ones(1000, requires_grad=True)
    with LiveBytes() as counter:
        (weight * weight).sum().backward()
        kept = counter.live
    assert kept == weight.grad.nbytes
    assert counter.peak >= 3 * weight.nbytes  # both products of the chain rule, and their sum


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system with 8,000,000 KiB available, whose other files a test writes."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:    8000000 kB\n")
    (tmp_path / "proc/self/cgroup").write_text("")
    return tmp_path


def write_group(system, path, **files):
    folder = system / "sys/fs/cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)


def test_without_limits_it_is_what_the_machine_has(system):
    assert available_memory(CPU, system) == FREE_OF_MACHINE


def test_groups_of_version_2_up_to_the_root(system):
    (system / "proc/self/cgroup").write_text("0::/user/job\n")
    used = {"memory__current": "700000", "memory__stat": "anon 5\ninactive_file 200000\n"}
    write_group(system, "user/job", memory__max="max\n", **used)
    write_group(system, "user", memory__max="1000000\n", **used)
    assert available_memory(CPU, system) == 1_000_000 - 700_000 + 200_000
    write_group(system, "user/job", memory__max="600000")
    assert available_memory(CPU, system) == 100_000
    write_group(system, "user/job", memory__max="100000")
    assert available_memory(CPU, system) == 0


def test_groups_of_version_1_in_a_container_that_shows_its_own_alone(system):
    (system / "proc/self/cgroup").write_text("5:cpu:/docker/0a\n4:memory:/docker/0a\n0::/docker/0a\n")
    write_group(
        system,
        "memory",
        memory__limit_in_bytes="5000",
        memory__usage_in_bytes="3000",
        memory__stat="inactive_file 1\ntotal_inactive_file 1500\n",
    )
    assert available_memory(CPU, system) == 3500


def test_limit_of_the_address_space(system, monkeypatch):
    (system / "proc/self/status").write_text("Name: python\nVmSize:    1000 kB\n")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (5000 * 1024, resource.RLIM_INFINITY))
    assert available_memory(CPU, system) == 4000 * 1024


def test_a_system_that_does_not_say(tmp_path):
    with pytest.raises(ValueError, match="does not say how much memory is available"):
        available_memory(CPU, tmp_path)


def test_this_system_says():
    assert 2**20 < available_memory(CPU) < 2**50
    assert 2**20 < peak_memory(CPU) < 2**50


def test_bytes_in_words():
    assert [format_bytes(count) for count in (12e6, 999e6, 1.5e9)] == ["12 MB", "999 MB", "1.5 GB"]


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_what_was_freed_is_available():
    held = [torch.ones(2**14) for _ in range(3000)]  # 64 KiB each: not mapped one by one
    del held[:-1]
    before = resident_bytes()
    available_memory(CPU)
    assert resident_bytes() < before - 100 * 2**20


def test_exhausted_memory_is_told_from_other_errors():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))
