import subprocess
import sys

import pytest

FAULTS = """
import sys, resource, numpy as np
from fastpose.system.allocator import keep_freed_memory
if sys.argv[1] != "default":
    assert keep_freed_memory()
if sys.argv[1] == "no more":
    assert not keep_freed_memory(False)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.zeros(2**26, np.uint8)[:] = 1
before = faults()
for _ in range(4):
    np.empty(2**26 - 4096, np.uint8)[:] = 1
print(faults() - before)
"""


def count_faults(how):
    result = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(result.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told anything: run on Linux")
def test_freed_pages_are_used_again():
    """64 MiB are mapped anew each time, unless they are kept."""
    kept = count_faults("keep")
    assert kept < count_faults("default") / 4
    assert kept < count_faults("no more") / 4
