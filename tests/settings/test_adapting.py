import functools
from dataclasses import replace

import pytest

from fastpose.models import create_model
from fastpose.settings.adapting import SKELETONS_ONLY, adapted
from fastpose.settings.files import by_name, from_preset
from fastpose.settings.presets import PRESETS


@pytest.mark.parametrize(
    ("chosen", "warmup"),
    [
        ({"epochs": "1"}, 0.1),
        ({"epochs": 2}, 0.2),
        ({"epochs": "3"}, 2.0),
        ({"epochs": "1", "warmup_epochs": "1"}, 2.0),
        ({"epochs": "many"}, 2.0),
        ({"epochs": "-1"}, 2.0),
        ({}, 2.0),
    ],
)
def test_a_warm_up_fits_the_epochs(chosen, warmup):
    base, said = adapted(from_preset("robust"), chosen)
    assert base.optim.warmup_epochs == pytest.approx(warmup)
    assert len(said) == (warmup < 2)
    if said:
        assert said[0].startswith("warmup_epochs = 2 of the preset leaves nothing of ")


def test_another_input_than_skeletons():
    preset = from_preset("first-run")
    base, said = adapted(preset, {"input": "heatmap"})
    assert base == replace(preset, model=replace(preset.model, model="posec3d"))
    assert said == [
        "model = 'dct_mlp' of the preset takes skeletons alone, not input = 'heatmap'; posec3d is taken"
    ]
    assert adapted(preset, {"input": "heatmap", "model": "dct_mlp"}) == (preset, [])
    assert adapted(preset, {"input": "skeleton"}) == (preset, [])
    named = {from_preset(name).model.model for name in PRESETS}
    for model in sorted(named):
        make = functools.partial(create_model, model, num_classes=2, num_keypoints=17, input="heatmap")
        if model in SKELETONS_ONLY:
            with pytest.raises(ValueError, match="skeleton input only"):
                make()
        else:
            make()


def test_another_crop_than_the_published_one():
    preset = from_preset("motionbert-published")
    base, said = adapted(preset, {"crop": "box"})
    assert not base.model.published
    assert said == ["published = True of the preset needs crop = 'frame', not 'box'; it is switched off"]
    assert adapted(preset, {"crop": "frame"}) == (preset, [])
    assert adapted(preset, {"crop": "box", "published": True}) == (preset, [])
    assert adapted(preset, {"epochs": 1}) == (preset, [])


def test_settings_by_name():
    nested = {"arm": "augmented", "data": {"limit": 3, "sampling": {"crop": "box"}}, "optim": {"epochs": 1}}
    assert by_name(nested) == {"arm": "augmented", "limit": 3, "crop": "box", "epochs": 1}
    assert by_name([1]) == {}
