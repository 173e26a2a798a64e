"""What tests of operators share."""

import pytest
import torch


@pytest.fixture
def poisoned_memory():
    """Fresh tensors hold NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)
