"""Processes that pass parts of one batch have the gradient of the whole batch in one process."""

import pytest
from support.shared_gradients import CASES, compare_gradients


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    return {size: compare_gradients(size, folder) for size in (2, 3)}


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_gradients_and_terms_are_those_of_one_process(case, size, found):
    for rank in found[size]:
        assert isinstance(rank[case], float), rank[case]
        assert rank[case] < 1e-10
