"""Readers of files from strangers: mutated files are read or refused, and nothing else happens."""

from random import Random

import pytest
from fuzz.targets import TARGETS, check, corpus, mutated

MUTATIONS = 300


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_small_and_read(name):
    files = corpus(name)
    assert sum(map(len, files)) < 60_000
    num_written = len(TARGETS[name].contents())
    assert all(check(name, data) for data in files[:num_written])
    for data in files[num_written:]:
        check(name, data)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_mutated_files_are_read_or_refused(name):
    files, random = corpus(name), Random(5)
    taken = 0
    for i in range(MUTATIONS):
        data = mutated(name, random, random.choice(files), files)
        try:
            taken += check(name, data)
        except Exception as error:
            raise AssertionError(f"mutation {i}, a file of {len(data)} bytes: {data[:3000]!r}") from error
    assert 0 < taken < MUTATIONS
