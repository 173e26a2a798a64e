"""Fuzzes a reader with Atheris, guided by coverage: python tests/fuzz/run.py TARGET [-runs=N] [libFuzzer's options].

`pip install atheris` has it for a few versions of Python. What breaks the reader is written as crash-… where this
runs; its place is then tests/fuzz/found/TARGET/, from where test_targets.py reads it ever after.
"""

import sys
import warnings
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
with atheris.instrument_imports(include=["fastpose"]):
    from fuzz.targets import LONGEST_FILE, MOST_SECONDS, TARGETS, check, corpus, mutated


def main() -> None:
    """Run libFuzzer on the target that the command line names."""
    if sys.argv[1:] == ["--targets"]:
        print(*TARGETS)
        return
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: {sys.argv[0]} {{{','.join(TARGETS)}}} [-runs=N] [options of libFuzzer]")
    name, options = sys.argv[1], sys.argv[2:]
    warnings.simplefilter("ignore")
    files = corpus(name)

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.3:
            return atheris.Mutate(data, longest)
        return mutated(name, random, data, files)[:longest]

    with TemporaryDirectory() as folder:
        for i, data in enumerate(files):
            (Path(folder) / str(i)).write_bytes(data)
        # By the clock, which goes on while other processes run; `check` counts the processor's seconds.
        limits = [f"-max_len={LONGEST_FILE}", f"-timeout={int(6 * MOST_SECONDS)}", "-rss_limit_mb=4096"]
        atheris.Setup([sys.argv[0], *limits, *options, folder], partial(check, name), custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
