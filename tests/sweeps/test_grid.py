"""What the file of a sweep may hold, and what is said of what it may not."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.training import TINY

from fastpose.settings import RunConfig
from fastpose.settings.files import from_preset, to_json
from fastpose.settings.front_ends import with_front_end
from fastpose.settings.presets import PRESET_ARMS
from fastpose.sweeps.grid import Grid, Range, read_grid


def read(folder, content, *, search=False):
    path = folder / "grid.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_grid(path, search=search)


def settled(folder, content):
    """The settings of all runs of a grid, choices before seeds."""
    grid = read(folder, content)
    return [grid.settle(choice, seed)[0] for choice in grid.choices() for seed in grid.seeds]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("grid")


def test_all_combinations_in_the_order_of_the_file(folder):
    runs = settled(
        folder, {"preset": "report", "arms": ["augmented", "contrastive"], "lr": [0.1, 0.2], "seeds": [3, 1]}
    )
    assert [(run.arm, run.optim.lr, run.seed) for run in runs] == [
        (arm, lr, seed) for arm in ("augmented", "contrastive") for lr in (0.1, 0.2) for seed in (3, 1)
    ]
    assert all(
        replace(run, arm="contrastive", seed=0, optim=replace(run.optim, lr=1e-3)) == RunConfig()
        for run in runs
    )


@pytest.mark.parametrize(
    "names",
    [
        {"lr": [0.1], "clip-len": 8, "size": [16, 32]},
        {"optim.lr": 0.1, "data.sampling.clip_len": [8], "sampling.size": [[16, 32]]},
        {"optim": {"lr": [0.1]}, "data": {"sampling": {"clip_len": 8, "size": [16, 32]}}},
        {"optim": {"lr": 0.1}, "sampling": {"clip-len": 8}, "data.sampling": {"size": [[16, 32]]}},
    ],
)
def test_settings_by_all_their_names(folder, names):
    (run,) = settled(folder, {"preset": "report", "arm": "contrastive", **names})
    sampling = replace(RunConfig().data.sampling, clip_len=8, size=(16, 32))
    base = RunConfig()
    assert run == replace(base, optim=replace(base.optim, lr=0.1), data=replace(base.data, sampling=sampling))


def test_settings_that_are_lists_take_one_list_or_lists(folder):
    runs = settled(folder, {"preset": "report", "alphas": [0.1, 0], "train_families": [["drift"], ["all"]]})
    assert [run.eval.alphas for run in runs] == [(0.0, 0.1)] * 2
    assert [len(run.optim.train_families) for run in runs] == [1, 13]
    runs = settled(
        folder, {"preset": "report", "size": [[16, 16], [32, 16]], "alpha": [0.02, [0, 0.1], "0:0.2"]}
    )
    assert {run.data.sampling.size for run in runs} == {(16, 16), (32, 16)}
    assert [run.optim.alpha for run in runs[:3]] == ["0.02", "0:0.1", "0:0.2"]


def test_what_the_runs_start_from(folder):
    assert settled(folder, {})[0] == replace(from_preset("first-run"), arm="supervised")
    robust = settled(folder, {"data": "penn.safetensors"})
    assert tuple(run.arm for run in robust) == PRESET_ARMS["robust"]
    assert robust[0].optim == from_preset("robust").optim
    (folder / "config.json").write_text(to_json(replace(TINY, arm="augmented", seed=4)))
    (run,) = settled(folder, {"config": str(folder / "config.json"), "lr": 0.5})
    assert run == replace(TINY, arm="augmented", seed=4, optim=replace(TINY.optim, lr=0.5))
    runs = settled(folder, {"preset": "report", "front_end": ["off", "full"], "crop_padding": 2})
    plain = replace(RunConfig().data.sampling, crop_padding=2.0)
    assert [run.data.sampling for run in runs] == [plain, with_front_end(plain, "full")]


def test_a_preset_gives_way_for_each_choice_by_itself(folder):
    grid = read(folder, {"preset": "robust", "arm": "augmented", "epochs": [1, 10]})
    found = [grid.settle(choice, 0) for choice in grid.choices()]
    assert [config.optim.warmup_epochs for config, _ in found] == [pytest.approx(0.1), 2.0]
    assert [len(said) for _, said in found] == [1, 0]


@given(
    lists=st.dictionaries(
        st.sampled_from(["lr", "weight_decay", "gamma1", "dropout", "ema"]),
        st.lists(st.floats(0.01, 0.9), min_size=1, max_size=3, unique=True),
    ),
    seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3, unique=True),
)
def test_any_grid_has_its_product_of_runs(folder, lists, seeds):
    runs = settled(folder, {"preset": "report", **lists, "seeds": seeds})
    assert len(runs) == len(set(runs)) == math.prod(map(len, lists.values())) * len(seeds)
    for name, values in lists.items():
        section = next(
            part for part in ("optim", "loss", "model") if hasattr(getattr(RunConfig(), part), name)
        )
        assert {getattr(getattr(run, section), name) for run in runs} == set(values)


DEEP = '{"optim": ' * 100_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "{path}: expected an object of settings, got [1]"),
        ("{", "{path}: not a JSON file (Expecting"),
        (DEEP, "{path}: not a JSON file ("),
        ('{"lr": [1], "lr": [2]}', "{path}: not a JSON file (the name 'lr' is given twice)"),
        ({"lr": []}, "{path}: lr = []: expected one value or more"),
        ({"alphas": []}, "{path}: alphas = []: expected one value or more"),
        ({"rate": [1]}, "{path}: rate: no such setting; expected a setting such as lr or optim.lr"),
        ({"optim": {"epoch": 1}}, "{path}: optim.epoch: no such setting; did you mean 'optim.epochs'?"),
        ({"loss.lr": 1}, "{path}: loss.lr: no such setting; did you mean 'optim.lr'?"),
        ({"optim": [1]}, "{path}: optim: no such setting; "),
        ({"": 1}, "{path}: : no such setting; expected a setting such as lr"),
        ({"lr": 0.1, "optim": {"lr": 0.2}}, "{path}: optim.lr stands twice, as 'lr' and 'optim.lr'"),
        ({"seed": 0, "seeds": [1]}, "{path}: seed stands twice, as 'seed' and 'seeds'"),
        ({"seeds": [0, -1]}, "{path}: seeds: expected seeds from 0 to 2^63 - 1"),
        ({"seeds": [0, True]}, "{path}: seeds: expected seeds"),
        ({"seeds": "0"}, "{path}: seeds: expected seeds"),
        ({"preset": ["report"]}, "{path}: preset = ['report']: expected text"),
        ({"preset": "reprot"}, "{path}: unknown preset 'reprot'; expected one of report"),
        ({"config": "absent.json"}, "{path}: absent.json: cannot be read"),
        ({"front_end": ["off", "auto"]}, "{path}: front_end = 'auto': expected some of off, means"),
        ({"front_end": [None]}, "{path}: front_end = None: expected some of"),
        ({"threads": [1, 2]}, "{path}: threads: decides no result; expected one value"),
        (
            {"lr": {"low": 1, "high": 2}},
            "{path}: lr: a range is to search in; expected --trials N, or a list",
        ),
        ({"lr": ["x" * 99]}, "{path}: optim: lr = 'xxx"),
        ({"lr": [0.1, -1]}, "{path}: optim.lr = -1: lr = -1.0: expected a number > 0"),
        ({"lr": [0.1, math.nan]}, "{path}: not a JSON file (NaN is no number of JSON)"),
        ({"lr": 10**400}, "{path}: optim: lr = 1000"),
        ({"epochs": [1, 2.5]}, "{path}: optim: epochs = 2.5: expected int"),
        ({"epochs": [1, True]}, "{path}: optim: epochs = True: expected int"),
        ({"epochs": [[1]]}, "{path}: optim: epochs = [1]: expected int"),
        ({"size": [56]}, "{path}: data: sampling: size = [56]: expected 2 numbers"),
        ({"alphas": [[0], 1]}, "{path}: eval: alphas = 1: expected a list"),
        ({"arm": ["clean"]}, "{path}: arm = 'clean': expected one of 'supervised'"),
        (
            {"epochs": 3, "warmup_epochs": [1, 5]},
            "optim.warmup_epochs = 5: warmup_epochs = 5.0: expected a number from",
        ),
        ({"val_every": 1}, "{path}: val_every = 1: expected val_clips > 0"),
        (
            {"lr": list(range(1, 102)), "ema": [i / 1e4 for i in range(100)]},
            "{path}: has 10,100 runs; expected at most",
        ),
    ],
    ids=lambda value: None if isinstance(value, str) and len(value) < 999 else "",
)
def test_what_is_refused(folder, content, message):
    if isinstance(content, dict):
        content = {"preset": "report", "arm": "augmented", **content}
    with pytest.raises(ValueError) as refused:
        settled(folder, content)
    said = str(refused.value)
    assert message.format(path=folder / "grid.json") in said
    assert said.startswith(f"{folder / 'grid.json'}: ")
    assert "\n" not in said


def test_an_absent_file_is_a_sentence(folder):
    with pytest.raises(ValueError, match=r"^.*absent\.json: cannot be read \(No such file or directory\)$"):
        read_grid(folder / "absent.json")
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)$"):
        read_grid(folder)


@pytest.mark.parametrize(
    ("name", "written", "found"),
    [
        ("optim.lr", {"low": 1e-4, "high": 1e-2, "log": True}, Range(1e-4, 1e-2, True)),
        ("optim.lr", {"low": 1, "high": 2, "step": 1}, Range(1.0, 2.0, False, 1.0)),
        ("optim.head_lr", {"low": 0.1, "high": 1}, Range(0.1, 1.0)),
        ("optim.alpha", {"low": 0, "high": 0.3}, Range(0.0, 0.3)),
        ("optim.epochs", {"low": 2, "high": 8, "step": 2}, Range(2, 8, False, 2)),
        ("optim.batch_size", {"low": 8, "high": 64, "log": True}, Range(8, 64, True)),
    ],
)
def test_ranges(folder, name, written, found):
    grid = read(folder, {"preset": "report", "arm": "augmented", name: written}, search=True)
    assert grid.values[name] == found
    assert type(grid.values[name].low) is type(found.low)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"lr": {"low": 1}}, "lr: expected a range with low and high, got {{'low': 1}}"),
        ({"lr": {"low": 2, "high": 2}}, "lr: low = 2, high = 2: expected low < high"),
        ({"lr": {"low": 0, "high": 2, "log": True}}, "lr: low = 0, log = true: expected low > 0"),
        ({"lr": {"low": 1, "high": 2, "log": 1}}, "lr: log = 1: expected true or false"),
        (
            {"lr": {"low": 1, "high": 2, "lgo": True}},
            "lr: unknown 'lgo'; a range has low, high, and perhaps log and step",
        ),
        (
            {"lr": {"low": 1, "high": 2, "to": 3}},
            "lr: unknown 'to'; a range has low, high, and perhaps log and step",
        ),
        ({"lr": {"low": "1", "high": 2}}, "lr: low = '1': expected a number"),
        ({"lr": {"low": 1, "high": math.inf}}, "not a JSON file (Infinity is no number of JSON)"),
        ({"lr": {"low": 1, "high": 10**400}}, "lr: high = 1000"),
        ({"lr": {"low": True, "high": 2}}, "lr: low = True: expected a number"),
        ({"lr": {"low": 1, "high": 2, "step": 3}}, "lr: step = 3: expected 0 < step ≤ high - low"),
        (
            {"lr": {"low": 1, "high": 2, "step": 0.1, "log": True}},
            "lr: log = true, step = 0.1: expected one of them",
        ),
        ({"epochs": {"low": 1, "high": 2.5}}, "epochs: high = 2.5: expected an integer"),
        ({"epochs": {"low": 1, "high": 5, "step": 0.5}}, "epochs: step = 0.5: expected an integer"),
        ({"size": {"low": 1, "high": 2}}, "size: takes no numbers; expected a list to choose from"),
        ({"ema": 0.9, "normalize": {"low": 0, "high": 1}}, "normalize: takes no numbers"),
        ({"crop": {"low": 0, "high": 1}}, "crop: takes no numbers"),
        ({"front_end": {"low": 0, "high": 1}}, "front_end: takes no numbers"),
        ({"seed": {"low": 0, "high": 1}}, "seed: expected seeds from 0"),
    ],
)
def test_ranges_that_are_refused(folder, content, message):
    with pytest.raises(ValueError) as refused:
        read(folder, {"preset": "report", "arm": "augmented", **content}, search=True)
    assert str(refused.value).startswith(f"{folder / 'grid.json'}: {message.format()}")


def test_a_search_needs_an_arm_where_the_preset_has_several(folder):
    with pytest.raises(
        ValueError, match='expected an arm to search with, of supervised, augmented, contrastive, as "arm"'
    ):
        read(folder, {"data": "penn.safetensors", "lr": {"low": 1, "high": 2}}, search=True)
    grid = read(folder, {"preset": "report", "lr": {"low": 1, "high": 2}}, search=True)
    assert grid.values["arm"] == ("contrastive",)


def test_corners_have_each_end_and_each_value_once():
    values = {"optim.lr": Range(0.1, 0.2), "arm": ("augmented",), "optim.ema": (0.0, 0.5, 0.9)}
    grid = Grid(path=Path("g.json"), preset=None, config=None, values=values, seeds=(0,))
    first = {"optim.lr": 0.1, "arm": "augmented", "optim.ema": 0.0}
    assert list(grid.corners()) == [
        first, first | {"optim.lr": 0.2}, first | {"optim.ema": 0.5}, first | {"optim.ema": 0.9},
    ]  # fmt: skip
    assert grid.describe(first) == "optim.lr = 0.1, optim.ema = 0.0"
