"""All that there is to ask of a GPU, in one run of at most nine minutes: what breaks, then how far from the floors.

    python benchmarks/gpu_session.py [--seconds 520] [--out FOLDER] [--stages STAGE ...]

Every stage is a process of its own, cut off at its limit, so that one that fails or hangs costs the others
nothing. Its whole output is FOLDER/STAGE.log; the table comes last.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TAIL = 60  # lines of a stage's output that are shown


@dataclass(frozen=True, slots=True)
class Stage:
    """What is run in the root of the checkout, and for how many seconds at most."""

    name: str
    seconds: float
    command: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stage ended: its exit status, None where it was cut off."""

    stage: Stage
    status: int | None
    seconds: float
    last_line: str


def stages() -> list[Stage]:
    """Return all stages, the most important first."""
    own = f"{sys.executable} {HERE / 'gpu_stages.py'}"
    pytest = f"{sys.executable} -m pytest -p no:cacheprovider"
    sanitized = "compute-sanitizer --tool {} --error-exitcode 9 " + pytest + " -m gpu -x"
    return [
        Stage("build", 120, f"{sys.executable} -m pip install -q --no-build-isolation --no-deps -e ."),
        Stage("training", 130, f"{own} training"),
        Stage("kernels", 60, f"{own} kernels"),
        Stage("steps", 120, f"{own} steps"),
        Stage("tests", 150, f"FASTPOSE_REQUIRE_GPU=1 {pytest} -m gpu -n 12 --maxfail 20 tests"),
        Stage("memcheck", 50, sanitized.format("memcheck")
              + " tests/ops/heatmap/test_heatmap_gpu.py tests/data/sampling/test_device_gpu.py -k '24 or bf16'"),
        Stage("racecheck", 50, sanitized.format("racecheck") + " tests/ops/contrastive/test_contrastive_gpu.py -k 500"),
    ]  # fmt: skip


def run_stages(
    chosen: list[Stage], seconds: float, out: Path, say: Callable[[str], object] = print
) -> list[Outcome]:
    """Run stages one after another within ``seconds``, and say what each printed last and, at the end, the table."""
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    outcomes = []
    for stage in chosen:
        left = min(stage.seconds, end - time.monotonic())
        if left < 1:
            outcomes.append(Outcome(stage, None, 0.0, "no time was left"))
            continue
        outcome, text = _run(stage, left, out / f"{stage.name}.log")
        outcomes.append(outcome)
        say(f"\n== {stage.name}\n" + "\n".join(text.splitlines()[-TAIL:]))
    say("\n" + table(outcomes))
    return outcomes


def _run(stage: Stage, seconds: float, log: Path) -> tuple[Outcome, str]:
    started = time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(
            stage.command, shell=True, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        status: int | None
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started itself
            process.wait()
    text = log.read_text(errors="replace")
    lines = text.strip().splitlines()
    return Outcome(stage, status, time.monotonic() - started, lines[-1] if lines else ""), text


def table(outcomes: list[Outcome]) -> str:
    """Return a line for each stage: how it ended, after how long, and its last line."""
    rows = []
    for outcome in outcomes:
        ended = (
            "cut off"
            if outcome.status is None
            else "passed"
            if outcome.status == 0
            else f"exit {outcome.status}"
        )
        rows.append(f"{outcome.stage.name:<10} {ended:<8} {outcome.seconds:4.0f} s  {outcome.last_line[:80]}")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=520, help="for all stages together")
    parser.add_argument("--out", type=Path, default=Path("gpu_session"), help="folder of the logs")
    names = [stage.name for stage in stages()]
    parser.add_argument(
        "--stages", nargs="+", choices=names, default=names, metavar="STAGE", help=", ".join(names)
    )
    arguments = parser.parse_args()
    chosen = [stage for stage in stages() if stage.name in arguments.stages]
    outcomes = run_stages(chosen, arguments.seconds, arguments.out)
    return 0 if all(outcome.status == 0 for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
