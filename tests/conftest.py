import os

import pytest
import torch
from hypothesis import HealthCheck, settings
from support.needs import miss

# Threads that wait for each other cost more than they bring on tensors as small as the tests'.
torch.set_num_threads(1)

# The same examples in every run, however slow the machine; HYPOTHESIS_PROFILE=explore searches further.
ANY_SPEED = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("repeatable", max_examples=40, derandomize=True, **ANY_SPEED)
settings.register_profile("explore", max_examples=1000, derandomize=False, print_blob=True, **ANY_SPEED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_collection_modifyitems(items):
    """Begin with the longest tests, so that no process waits for the last of them."""
    items.sort(key=lambda item: item.path.name != "test_interpreter.py")


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        message = "no CUDA device: run on a machine with one; FASTPOSE_REQUIRE_GPU=1 makes this a failure"
        miss(message, required=os.environ.get("FASTPOSE_REQUIRE_GPU") == "1")


@pytest.fixture
def poisoned_memory():
    """Fresh tensors hold NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)
