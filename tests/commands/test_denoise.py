"""`fastpose denoise`: filters packed clips, learns priors, and refuses what makes no sense."""

import numpy as np
import pytest
from support.clips import waving_clips

from fastpose import denoise
from fastpose.data import Denoiser, PackedClips


@pytest.fixture
def packed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clips = waving_clips()
    clips.save("clips.safetensors")
    return clips


def test_clips_are_smoothed(packed, capsys):
    assert denoise.main(["clips.safetensors", "--out", "smooth.safetensors"]) == 0
    assert "wrote smooth.safetensors" in capsys.readouterr().out
    written = PackedClips.load("smooth.safetensors")
    assert np.array_equal(written.keypoints, Denoiser().filter_clips(packed).keypoints)
    assert written.names == packed.names
    assert written.splits.keys() == packed.splits.keys()


def test_a_prior_is_learned_from_the_training_split_and_used(packed, capsys):
    assert denoise.main(["--fit", "clips.safetensors", "--out", "prior.safetensors"]) == 0
    assert (
        f"split 'train' of clips.safetensors: {len(packed.split('train'))} clips" in capsys.readouterr().out
    )
    flags = ["clips.safetensors", "--prior", "prior.safetensors", "--out", "filtered.safetensors"]
    assert denoise.main(flags) == 0
    expected = Denoiser.fit(packed, packed.split("train")).filter_clips(packed)
    np.testing.assert_allclose(
        PackedClips.load("filtered.safetensors").keypoints, expected.keypoints, atol=1e-3
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "name a packed file to filter"),
        (["clips.safetensors", "--fit", "clips.safetensors"], "and not both"),
        (["--fit", "clips.safetensors", "--prior", "clips.safetensors"], "takes none by --prior"),
        (
            ["clips.safetensors", "--prior", "clips.safetensors"],
            "clips.safetensors: not a prior of body motion",
        ),
        (["missing.safetensors"], "missing.safetensors"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(packed, capsys, flags, message):
    assert denoise.main([*flags, "--out", "out.safetensors"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
