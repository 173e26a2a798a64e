import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpose.settings import EvalConfig, RunConfig
from fastpose.settings import files as config_files
from fastpose.settings.families import FAMILIES
from fastpose.settings.optim import parse_alpha
from fastpose.settings.presets import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name, tmp_path):
    run = config_files.from_preset(name)
    path = tmp_path / "config.json"
    path.write_text(config_files.to_json(run))
    assert config_files.from_file(path) == run


def test_defaults_are_the_reports():
    run = RunConfig()
    assert (run.optim.epochs, run.optim.lr, run.optim.weight_decay) == (150, 1e-3, 0.01)
    assert (run.optim.batch_size, run.optim.grad_clip, run.optim.schedule) == (32, 20.0, "constant")
    assert (run.loss.temperature, run.loss.symmetric, run.loss.representation) == (1.0, False, "features")
    assert (run.data.sampling.clip_len, run.data.sampling.size, run.model.sigma, run.model.dropout) == (
        24,
        (56, 56),
        0.6,
        0.5,
    )


def test_reference_code_differs_as_published():
    run = config_files.from_preset("reference-code")
    assert run.loss.temperature == 0.5
    assert run.loss.symmetric
    assert run.loss.detach_clean
    assert run.loss.representation == "softmax"
    assert run.loss.group_labels == "pseudo"
    assert run.model.duplicate_person
    assert not run.model.normalize


def test_motionbert_has_settings_of_its_own():
    run = config_files.from_preset("motionbert")
    assert (run.model.model, run.model.input, run.data.sampling.clip_len) == ("motionbert", "skeleton", 24)
    assert (run.optim.lr, run.optim.head_lr, run.optim.schedule, run.optim.lr_decay) == (
        1e-4, 1e-3, "step", 0.99,
    )  # fmt: skip
    assert (run.optim.alpha, run.loss.gamma1, run.loss.gamma2, run.loss.sup_thresh) == ("0.01", 1, 0.3, 0)
    published = config_files.from_preset("motionbert-published")
    assert published.model.published
    assert (published.data.sampling.clip_len, published.data.sampling.max_persons) == (243, 2)
    assert (published.optim.epochs, published.optim.batch_size, published.model.dropout) == (300, 32, 0.5)


def test_settings_without_effect_are_named():
    run = config_files.from_dict({"data": {"crop": "frame", "min_box": 5}, "optim": {"lr_decay": 0.5}})
    assert run.idle_settings() == [
        "min_box has no effect with crop = 'frame'",
        "lr_decay has no effect with schedule = 'constant'",
    ]
    for name in PRESETS:
        assert config_files.from_preset(name).idle_settings() == []


@given(low=st.floats(0, 10), width=st.floats(0, 10))
def test_alpha_ranges_survive_text(low, width):
    assert parse_alpha(f"{low!r}:{low + width!r}") == (low, low + width)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "0.2:0.1", "a", "", "1:2:3", "0:inf", ":"])
def test_bad_alphas_are_named(text):
    with pytest.raises(ValueError, match="alpha"):
        parse_alpha(text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optm": {}}, "unknown setting 'optm'; did you mean 'optim'"),
        ({"optim": {"epoch": 3}}, "optim: unknown setting 'epoch'; did you mean 'epochs'"),
        ({"optim": {"epochs": 0}}, "epochs = 0: expected at least 1"),
        ({"optim": {"epochs": "3"}}, "epochs = '3': expected int"),
        ({"optim": {"epochs": True}}, "epochs = True: expected int"),
        ({"optim": 3}, "optim: expected an object"),
        ({"optim": {"lr": 10**400}}, r"lr = 10+\.{3}0+: expected a number of the usual size"),
        ({"data": {"size": [56]}}, "size = .*expected 2 numbers"),
        ({"data": {"test_on": "val"}}, "val_clips > 0"),
        ({"model": {"input": "depth"}}, "input = 'depth': expected one of"),
        ({"loss": {"temperature": 0}}, "temperature = 0.0: expected a number > 0"),
        ({"loss": {"gamma1": -1}}, "gamma1 = -1.0: expected a weight"),
        ({"eval": {"alphas": []}}, "alphas = .*: expected one noise level"),
        ({"eval": {"alphas": [0, -0.1]}}, "alphas = .*: expected noise levels"),
        ({"eval": {"families": ["drfit"]}}, "families: no noise family 'drfit'; there are: gaussian, "),
        ({"eval": {"families": []}}, "families: expected one noise family or more"),
        (
            {"optim": {"train_families": ["swap", "swap"]}},
            "train_families: noise family 'swap' is named twice",
        ),
        ({"optim": {"train_families": "all"}}, "train_families = 'all': expected a list"),
        ({"arm": "contrast"}, "arm = 'contrast'"),
        ({"seed": -1}, "seed = -1"),
        ({"model": {"published": True}}, "published = True: expected crop = 'frame'"),
        ({"data": {"frame_rule": "even"}}, "frame_rule = 'even': expected one of"),
        ({"optim": {"head_lr": 0}}, "head_lr = 0.0: expected a number > 0, or none"),
        ({"optim": {"batch_size": 0}}, "batch_size = 0: expected at least 1, or auto"),
        ({"optim": {"batch_size": "all"}}, "batch_size = 'all': expected int or 'auto'$"),
        ({"optim": {"batch_size": True}}, "batch_size = True: expected int or 'auto'$"),
        ({"optim": {"batch_size": None}}, "batch_size = None: expected int or 'auto'$"),
        ({"optim": {"micro_batch": 0}}, "micro_batch = 0: expected at least 1, or none"),
        ({"optim": {"batch_size": "auto", "micro_batch": 4}}, "batch_size = 'auto': expected no micro_batch"),
        ({"optim": {"lr_decay": 1.5}}, "lr_decay = 1.5: expected 0 < factor"),
    ],
)
def test_bad_settings_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        config_files.from_dict(values)


def test_one_word_stands_for_all_noise_families():
    run = config_files.from_dict({"eval": {"families": ["all"]}, "optim": {"train_families": ["all"]}})
    assert run.eval.families == run.optim.train_families == FAMILIES
    assert json.loads(config_files.to_json(run))["eval"]["families"] == list(FAMILIES)
    assert EvalConfig(families="drift").families == ("drift",)
    assert RunConfig().eval.families == RunConfig().optim.train_families == ("gaussian",)


@pytest.mark.parametrize("arm", ["supervised", "augmented", "contrastive"])
def test_families_are_idle_without_a_noisy_view(arm):
    run = config_files.from_dict({"arm": arm, "optim": {"train_families": ["gaussian", "drift"]}})
    told = "train_families has no effect with arm = 'supervised', which sees clean clips only"
    assert run.idle_settings() == ([told] if arm == "supervised" else [])


def test_alpha_may_be_a_number_or_a_list_in_json():
    assert config_files.from_dict({"optim": {"alpha": 0.025}}).optim.alpha == "0.025"
    assert config_files.from_dict({"optim": {"alpha": [0, 0.2]}}).optim.alpha == "0:0.2"


def test_the_batch_size_may_be_a_word_in_json():
    assert config_files.from_dict({"optim": {"batch_size": "auto"}}).optim.batch_size == "auto"
    idle = config_files.from_dict({"optim": {"batch_size": 8, "micro_batch": 8}}).idle_settings()
    assert idle == ["micro_batch has no effect with batch_size = 8"]


def test_unknown_preset_and_unreadable_files(tmp_path):
    with pytest.raises(ValueError, match="unknown preset 'best'; expected one of report"):
        config_files.from_preset("best")
    with pytest.raises(ValueError, match="absent.json: cannot be read"):
        config_files.from_file(tmp_path / "absent.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match="not a JSON file"):
        config_files.from_file(tmp_path / "bad.json")
    for text, reason in (
        ('{"optim": {"lr": 1, "epochs": 2, "lr": 3}}', "'lr' is given twice"),
        ('{"optim": ' * 100_000, "nested too deep"),
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match=rf"bad.json: not a JSON file \(.*{reason}.*\)$"):
            config_files.from_file(tmp_path / "bad.json")


def test_flags_are_unique_across_sections():
    names = [
        field.name
        for section in ("data", "model", "loss", "optim", "eval")
        for field in dataclasses.fields(getattr(RunConfig(), section))
    ]
    assert len(names) == len(set(names))
    assert json.loads(config_files.to_json(RunConfig())).keys() == {
        "arm", "seed", "data", "model", "loss", "optim", "eval",
    }  # fmt: skip


def test_noise_levels_are_sorted_once():
    with pytest.warns(UserWarning, match=r"^alphas: 0\.1 is named more than once, and is measured once$"):
        run = config_files.from_dict({"eval": {"alphas": [0.1, 0, 0.05, 0.1]}})
    assert run.eval.alphas == (0.0, 0.05, 0.1)
    assert EvalConfig(alphas=[0.2, 0.1]).alphas == (0.1, 0.2)
    assert config_files.from_dict({"optim": {"val_alphas": [0.1, 0]}}).optim.val_alphas == (0.0, 0.1)
