import pytest
import torch

# Threads that wait for each other cost more than they bring on tensors as small as the tests'.
torch.set_num_threads(1)


@pytest.fixture
def poisoned_memory():
    """Fresh tensors hold NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)
