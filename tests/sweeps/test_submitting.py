"""Jobs through submitit: on this machine, and what a SLURM cluster is handed, with stand-ins for its programs."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.sweeps import ShortJob

from fastpose.sweeps import submitting
from fastpose.sweeps.submitting import parse_slurm, run_here, run_on_slurm

pytest.importorskip("submitit", reason='no submitit: pip install "fastpose-action[sweep]"')

TESTS = Path(__file__).resolve().parents[1]
SBATCH = """#!/usr/bin/env bash
# Runs the jobs of an array one by one behind the back of whoever submits them, as SLURM runs each.
[ -z "$SBATCH_SAYS" ] || { echo "$SBATCH_SAYS" >&2; exit 1; }
cp "$1" "$SLURM_FOLDER/script"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
echo "Submitted batch job 77"
(
  export SLURM_JOB_ID=77
  for task in $(seq 0 "${last:-0}"); do
    [ -z "$last" ] || export SLURM_ARRAY_JOB_ID=77 SLURM_ARRAY_TASK_ID=$task
    bash "$1"
  done
) >/dev/null 2>&1 &
"""
SRUN = """#!/usr/bin/env bash
while [ "${1#--}" != "$1" ]; do case "$1" in --output|--error) shift 2;; *) shift;; esac; done
exec "$@"
"""
SACCT = """#!/usr/bin/env bash
echo "JobID|State|NodeList"
echo "77_2|FAILED|n1"
"""


@pytest.fixture
def _support_in_processes(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), *sys.path]))


@pytest.fixture
def cluster(tmp_path, monkeypatch, _support_in_processes):
    """A folder in PATH with what stands in for SLURM, and where it keeps the script that it was given."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_FOLDER", str(folder))
    return folder


def jobs_of(folder, *what):
    return {f"{i}-{do}": ShortJob(file=folder / f"{i}-{do}.txt", do=do) for i, do in enumerate(what)}


@pytest.mark.usefixtures("_support_in_processes")
def test_jobs_here_end_each_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    ended, at_work = {}, []
    jobs = jobs_of(tmp_path, "end", "die", "refuse", "fail")
    jobs["0-end"] = ShortJob(file=tmp_path / "0-end.txt", variables={"CUDA_VISIBLE_DEVICES": "3"})
    run_here(jobs, tmp_path / "jobs", 2, ended.__setitem__, lambda running: at_work.append(len(running)))
    assert {name: each.how for name, each in ended.items()} == {
        "0-end": "done", "1-die": "failed", "2-refuse": "failed", "3-fail": "failed",
    }  # fmt: skip
    assert ended["2-refuse"].text == "lr = -1: expected a number > 0"
    assert ended["3-fail"].text == "TypeError: of the program, a fault of the program"
    log = re.fullmatch(
        r"its process died, as where the memory is used up; its log is (\S+)", ended["1-die"].text
    )
    assert Path(log[1]).parent == tmp_path / "jobs/1-die"
    assert "expected a number > 0" in next((tmp_path / "jobs/2-refuse").glob("*log.err")).read_text()
    assert (tmp_path / "0-end.txt").read_text().split()[0] == "3"
    assert max(at_work) == 2


@pytest.mark.usefixtures("_support_in_processes")
def test_a_job_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # without the module of the job
    ended = {}
    run_here(jobs_of(tmp_path, "end"), tmp_path / "jobs", 1, ended.__setitem__, lambda running: None)
    assert ended["0-end"].how == "failed"
    assert ended["0-end"].text.startswith("ModuleNotFoundError: No module named 'support'; its log is /")


@pytest.mark.usefixtures("_support_in_processes")
def test_a_job_that_is_preempted_begins_again(tmp_path):
    """As a run goes on from its checkpoint, where SLURM sends the signal before it ends a job for want of time."""
    file, ended = tmp_path / "0-end later.txt", {}

    def preempt():
        while not file.exists() or not file.read_text():
            time.sleep(0.05)
        os.kill(int(file.read_text().split()[-1]), signal.SIGUSR2)

    threading.Thread(target=preempt, daemon=True).start()
    jobs = jobs_of(tmp_path, "end later")
    run_here(jobs, tmp_path / "jobs", 1, ended.__setitem__, lambda running: None)
    assert ended["0-end later"].how == "done"
    (log,) = (tmp_path / "jobs/0-end later").glob("*log.out")
    assert log.read_text().count("Loading pickle") == 2


@pytest.fixture
def _heard_ctrl_c():
    """Undo what a shell does to jobs in its background, which ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_support_in_processes", "_heard_ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_ends_all_jobs_here(tmp_path, number):
    jobs = jobs_of(tmp_path, "go on", "go on", "end")

    def stop():
        while not all((tmp_path / f"{i}-go on.txt").exists() for i in (0, 1)):
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
        run_here(jobs, tmp_path / "jobs", 2, lambda name, ended: None, lambda running: None)
    for i in (0, 1):
        pid = int((tmp_path / f"{i}-go on.txt").read_text().split()[-1])
        assert not Path(f"/proc/{pid}").exists()
        assert list((tmp_path / f"jobs/{i}-go on").glob("*_result.pkl"))  # it ended by itself
    assert not (tmp_path / "2-end.txt").exists()


def test_an_array_on_slurm(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr("submitit.SlurmJob._results_timeout_s", 0)
    ended, said = {}, []
    options = parse_slurm(
        "partition=gpu,time=30,gpus-per-node=1,gres=gpu:a:1,nodelist=n1,n2,reservation=us,setup=export A=1"
    )
    jobs = jobs_of(tmp_path, "end", "refuse", "die")
    run_on_slurm(
        jobs,
        tmp_path / "jobs",
        options,
        2,
        ended.__setitem__,
        lambda running: None,
        said.append,
        look_seconds=0.2,
    )
    assert {name: each.how for name, each in ended.items()} == {
        "0-end": "done", "1-refuse": "failed", "2-die": "failed",
    }  # fmt: skip
    assert ended["1-refuse"].text == "lr = -1: expected a number > 0"
    assert ended["2-die"].text.startswith("its job 77_2 ended without a result (FAILED); its log is /")
    assert said == [f"SLURM jobs 77: 3, logs in {tmp_path / 'jobs'}"]
    script = (cluster / "script").read_text()
    for line in ("partition=gpu", "time=30", "gpus-per-node=1", "gres=gpu:a:1", "nodelist=n1,n2", "reservation=us",
                 "array=0-2%2", "signal=USR2@90"):  # fmt: skip
        assert f"#SBATCH --{line}\n" in script
    assert "\n# setup\nexport A=1\n" in script


def test_one_job_on_slurm_needs_no_array(tmp_path, cluster):
    ended = {}
    run_on_slurm(
        jobs_of(tmp_path, "end"), tmp_path / "jobs", parse_slurm("partition=cpu"), None, ended.__setitem__,
        lambda running: None, lambda text: None, look_seconds=0.2,
    )  # fmt: skip
    assert ended["0-end"].how == "done"
    script = (cluster / "script").read_text()
    assert "array" not in script
    assert "#SBATCH --time=60\n" in script


def test_a_cluster_that_refuses(tmp_path, cluster, monkeypatch, capsys):
    monkeypatch.setenv("SBATCH_SAYS", "sbatch: error: invalid partition specified: gpuu")
    with pytest.raises(ValueError) as refused:
        run_on_slurm(
            jobs_of(tmp_path, "end"),
            tmp_path / "jobs",
            parse_slurm("partition=gpuu"),
            None,
            print,
            print,
            print,
        )
    assert str(refused.value) == (
        "--slurm: sbatch refused the jobs (sbatch: error: invalid partition specified: gpuu)"
    )
    assert capsys.readouterr().err == ""


def test_no_cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="--slurm: sbatch is not here; expected a SLURM cluster's node"):
        run_on_slurm(
            jobs_of(tmp_path, "end"), tmp_path / "jobs", parse_slurm("time=1"), None, print, print, print
        )


def test_ctrl_c_leaves_jobs_on_slurm(tmp_path, cluster):
    said = []

    def stop(running):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_on_slurm(
            jobs_of(tmp_path, "end"), tmp_path / "jobs", parse_slurm("time=1"), None, print, stop, said.append
        )
    assert said[-1] == "the jobs go on; scancel 77 ends them"
    until = time.monotonic() + 60
    while not list((tmp_path / "jobs").glob("*_result.pkl")):
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("partition=gpu", {"partition": "gpu", "time": 60}),
        ("--time=5,exclusive=true,mem=8GB", {"time": 5, "exclusive": True, "mem": "8GB"}),
        ("exclude=n[1-3,7],qos=low,time=1", {"exclude": "n[1-3,7]", "qos": "low", "time": 1}),
        ("comment=a=b,nodes=1", {"comment": "a=b", "nodes": 1, "time": 60}),
    ],
)
def test_options_of_sbatch(text, found):
    assert parse_slurm(text) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--slurm : expected options with values, such as partition=gpu,time=120,gpus_per_node=1"),
        ("gpu", "--slurm gpu: expected options with values"),
        ("=1", "--slurm =1: expected options"),
        ("partition=", "--slurm partition: expected a value"),
        ("partition=a,partition=b", "--slurm partition=a,partition=b: partition is named twice"),
        ("time=2:00:00", "--slurm time=2:00:00: expected minutes, such as 60"),
        ("time=0", "--slurm time=0: expected minutes"),
        ("time=true", "--slurm time=True: expected minutes"),
        ("nodes=2", "--slurm nodes=2: expected 1, as a run is one process"),
        ("ntasks-per-node=4", "--slurm ntasks_per_node=4: expected 1"),
    ],
)
def test_options_that_are_refused(text, message):
    with pytest.raises(ValueError) as refused:
        parse_slurm(text)
    assert str(refused.value).startswith(message)


def test_jobs_import_no_torch():
    code = "import sys, fastpose.sweeps.job; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_jobs_on_slurm_need_not_be_waited_for(tmp_path, cluster):
    options, told = parse_slurm("partition=gpu"), []
    jobs = jobs_of(tmp_path, "end", "end")
    run_on_slurm(
        jobs, tmp_path / "jobs", options, None, told.append, told.append, lambda text: None, wait=False
    )
    assert not told
    assert "#SBATCH --array=0-1%2\n" in (cluster / "script").read_text()


class Arrays:
    """Stands for submitit's executor; keeps the size of each array, and how many of it are at work at a time."""

    def __init__(self):
        self.made, self.parallelism = [], None

    def update_parameters(self, *, array_parallelism):
        self.parallelism = array_parallelism

    def submit_array(self, jobs):
        self.made.append((len(jobs), self.parallelism))
        return [SimpleNamespace(job_id=f"{len(self.made)}_{number}") for number in range(len(jobs))]


@pytest.mark.parametrize(
    ("at_once", "made"),
    [(4, [(1, 1), (2, 1), (2, 2)]), (3, [(1, 1), (2, 1), (2, 1)]), (None, [(1, None), (2, None), (2, None)])],
)
def test_arrays_share_how_many_are_at_work(at_once, made, tmp_path, monkeypatch):
    arrays = Arrays()
    monkeypatch.setattr(submitting, "MOST_IN_ARRAY", 2)
    monkeypatch.setattr(submitting, "_slurm_executor", lambda folder, options: arrays)
    jobs = {str(number): None for number in range(5)}
    run_on_slurm(jobs, tmp_path, {}, at_once, print, print, print, wait=False)
    assert arrays.made == made
    with pytest.raises(
        ValueError, match=r"jobs = 2: expected at least 3 for 5 runs, of which an array .* holds 2"
    ):
        run_on_slurm(jobs, tmp_path, {}, 2, print, print, print, wait=False)


def test_how_many_are_at_work_may_be_an_option(tmp_path, cluster):
    options = parse_slurm("partition=gpu,array_parallelism=1")
    run_on_slurm(
        jobs_of(tmp_path, "end", "end"), tmp_path / "jobs", options, None, print, print, print, wait=False
    )
    assert "#SBATCH --array=0-1%1\n" in (cluster / "script").read_text()
