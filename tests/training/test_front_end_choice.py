"""The choice of a front end: the best mean on held-out clips, of those that leave clean clips alone."""

import numpy as np
import pytest
from support.clips import waving_clips

from fastpose import train
from fastpose.settings import OptimConfig, RunConfig, SamplingConfig
from fastpose.settings.front_ends import FRONT_ENDS, with_front_end
from fastpose.training import front_end_choice


@pytest.mark.parametrize(
    ("clean", "noisy", "best"),
    [
        ({"off": 90, "full": 90}, {"off": 50, "full": 70}, "full"),
        ({"off": 90, "full": 88.5, "filter": 89.2}, {"off": 50, "full": 80, "filter": 60}, "filter"),
        ({"off": 90}, {"off": 50}, "off"),
    ],
)
def test_the_best_mean_wins_unless_clean_clips_suffer(monkeypatch, clean, noisy, best):
    tried = []

    def measure(config, packed):
        assert config.data.test_on == "val"
        assert config.data.val_clips == 2  # a sixth of the 12 to train
        assert config.optim.alpha == "0:0.2"
        name = next(
            name for name in FRONT_ENDS if with_front_end(SamplingConfig(), name) == config.data.sampling
        )
        tried.append((name, config.seed))
        return np.array([clean.get(name, 20)] + 5 * [noisy.get(name, 10)])

    monkeypatch.setattr(front_end_choice, "_measure", measure)
    said = []
    config = RunConfig(optim=OptimConfig(alpha="0:0.2"))
    chosen = front_end_choice.choose_front_end(config, waving_clips(18), said.append)
    assert chosen.data.sampling == with_front_end(SamplingConfig(), best)
    assert chosen.optim == config.optim
    assert tried == [(name, seed) for name in FRONT_ENDS for seed in range(2)]
    assert [line.split()[0] for line in said if line.endswith("chosen")] == [best]


def test_names_are_settings():
    arguments = train.parse(["--front-end", "full", "--window", "0.8"])
    sampling = arguments.data.sampling
    assert (sampling.frame_rule, sampling.crop, sampling.motion_filter) == ("means", "spread", "colours")
    assert (sampling.evidence, sampling.window) == (True, 0.8)
    assert train.parse(["--preset", "report", "--front-end", "auto"]).data.sampling == SamplingConfig()
    assert train.parse([]).data.sampling == with_front_end(SamplingConfig(), "filter")  # the first run
    published = train.parse(["--preset", "motionbert-published", "--front-end", "full"]).data.sampling
    assert (published.crop, published.frame_rule) == ("frame", "means")
    off = train.parse(["--preset", "motionbert-published", "--front-end", "off"]).data.sampling
    assert (off.crop, off.frame_rule) == ("frame", "resample")
    with pytest.raises(ValueError, match="front_end = 'fulll': expected one of off, means, filter"):
        train.parse(["--front-end", "fulll"])
