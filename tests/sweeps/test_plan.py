"""The runs of a grid, their folders, and what is refused before the first begins."""

import json
import re

import pytest
from support.clips import waving_clips
from support.sweeps import grid_of

from fastpose.sweeps.plan import Clips, check_runs, plan_grid


def names_of(folder, **settings):
    plan, _ = plan_grid(grid_of(folder, **settings), Clips())
    return list(plan)


def test_folders_are_named_by_arm_settings_and_seed(tmp_path):
    names = names_of(tmp_path, arm=["supervised", "augmented"], lr=[0.1, 0.2], seeds=[0, 7])
    assert len(set(names)) == 8
    assert all(re.fullmatch(r"(supervised|augmented-0\.01)-[0-9a-f]{10}-s[07]", name) for name in names)
    assert names[0][:-1] == names[1][:-1]  # the seed has no part in the hash
    wider = names_of(tmp_path, arm=["supervised", "augmented"], lr=[0.3, 0.2, 0.1], seeds=[7, 0, 1])
    assert set(names) < set(wider)


def test_folders_follow_the_clips_and_not_their_path(tmp_path):
    waving_clips(18).save(tmp_path / "moved.safetensors")
    waving_clips(18, seed=1).save(tmp_path / "other.safetensors")
    here = names_of(tmp_path)
    assert names_of(tmp_path, data=str(tmp_path / "moved.safetensors")) == here
    assert names_of(tmp_path, data=str(tmp_path / "other.safetensors")) != here
    assert names_of(tmp_path, threads=1, device="auto") == here


def test_equal_choices_are_one_run(tmp_path):
    plan, notes = plan_grid(
        grid_of(tmp_path, arm="augmented", alpha=[0.02, "0.02"], seeds=[0, 1, 0]), Clips()
    )
    assert len(plan) == 2
    assert notes == ["2 of 4 runs have the settings of others, and are not run twice"]


def test_settings_without_effect_and_presets_that_give_way_are_noted_once(tmp_path):
    _, notes = plan_grid(
        grid_of(tmp_path, preset="robust", epochs=1, views=["both", "tempo"], seeds=[0, 1]), Clips()
    )
    assert notes == [
        "warmup_epochs = 2 of the preset leaves nothing of epochs = 1; 0.1 is taken",
        "views has no effect with arm = 'supervised'",
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": ["{clips}", "absent.safetensors"]}, "data.data = 'absent.safetensors': absent.safetensors"),
        ({"test_split": ["test", "val"]}, "data.test_split = 'val': "),
        ({"val_clips": [0, 99]}, "data.val_clips = 99: 99 clips cannot be held out"),
        (
            {"batch_size": [6, "auto"]},
            "optim.batch_size = 'auto': batch_size = 'auto': expected a number, since",
        ),
    ],
)
def test_clips_and_sizes_that_cannot_be_had(tmp_path, settings, message):
    given = json.loads(json.dumps(settings).replace("{clips}", str(tmp_path / "clips.safetensors")))
    with pytest.raises(ValueError) as refused:
        names_of(tmp_path, **given)
    assert str(refused.value).startswith(f"{tmp_path / 'grid.json'}: {message}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model": ["dct_mlp", "resnet"]},
            "model.model = 'resnet': unknown model 'resnet'; there are: posec3d",
        ),
        ({"input": ["skeleton", "heatmap"]}, "model.input = 'heatmap': "),
        ({"label_fraction": [1, 0.01]}, "data.label_fraction = 0.01: label_fraction = 0.01: class"),
        ({"denoise": ["off", "absent.safetensors"]}, "eval.denoise = 'absent.safetensors': "),
        (
            {"model": ["dct_mlp", "no_module:Net"]},
            "model.model = 'no_module:Net': model 'no_module:Net' is code",
        ),
    ],
)
def test_runs_that_cannot_be_trained_are_found_before_the_first(tmp_path, settings, message):
    grid, clips = grid_of(tmp_path, **settings), Clips()
    plan, _ = plan_grid(grid, clips)
    with pytest.raises(ValueError) as refused:
        check_runs(grid, plan.values(), clips, 2, here=True)
    assert str(refused.value).startswith(f"{tmp_path / 'grid.json'}: {message}")
    assert "\n" not in str(refused.value)
    assert {path.name for path in tmp_path.iterdir()} == {"clips.safetensors", "grid.json"}


def test_as_many_at_a_time_as_the_memory_holds(tmp_path, monkeypatch):
    asked = []

    def fit(setup, jobs):
        asked.append(setup.config.optim.batch_size)
        return min(jobs, 12 // setup.config.optim.batch_size)

    monkeypatch.setattr("fastpose.sweeps.plan.jobs_that_fit", fit)
    grid, clips = grid_of(tmp_path, batch_size=[2, 4, 6], lr=[0.1, 0.2], seeds=[0, 1]), Clips()
    plan, _ = plan_grid(grid, clips)
    assert check_runs(grid, plan.values(), clips, 4, here=True) == 2
    assert asked == [2, 4, 6]  # each kind once
    assert check_runs(grid, plan.values(), clips, 4, here=False) == 4
    assert asked == [2, 4, 6]
