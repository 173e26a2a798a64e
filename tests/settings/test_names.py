"""Settings by the names that people type."""

from typing import get_args, get_origin

import pytest

from fastpose.settings import RunConfig
from fastpose.settings.files import by_dotted_name
from fastpose.settings.names import find_setting, type_of


def test_settings_are_found_by_their_last_words():
    known = ["arm", "optim.lr", "data.sampling.size", "model.size", "optim.train_families"]
    assert find_setting("lr", known, "") == find_setting("optim.lr", known, "") == "optim.lr"
    assert find_setting("sampling.size", known, "") == "data.sampling.size"
    assert find_setting("train-families", known, "") == "optim.train_families"
    for name, message in {
        "size": "--by size: several settings are named so; expected data.sampling.size or model.size",
        "optim.rl": "--by optim.rl: no such setting; did you mean 'optim.lr'?",
        "loss.lr": "--by loss.lr: no such setting; did you mean 'optim.lr'?",
        "am": "--by am: no such setting; did you mean 'arm'?",
        "x": "--by x: no such setting; expected a setting such as lr or optim.lr",
    }.items():
        with pytest.raises(ValueError) as refused:
            find_setting(name, known, f"--by {name}")
        assert str(refused.value) == message


def test_every_setting_has_a_type_that_its_default_is_of():
    for name, value in by_dotted_name(RunConfig()).items():
        hint = type_of(name)
        kinds = [get_origin(each) or each for each in (get_args(hint) if get_args(hint) else [hint])]
        if get_origin(hint) is tuple:
            assert isinstance(value, tuple)
        else:
            assert (
                value in get_args(hint)
                or type(value) in (hint, *kinds)
                or (value is None and type(None) in kinds)
            )
