"""Accuracy by noise family: what is scored, the one figure of it, its tables and its picture."""

import csv

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clips import waving_clips
from torch import nn

from fastpose.data import ClipSampler, Denoiser
from fastpose.data.sampling.noised import noised_clips
from fastpose.evaluation.curves import (
    curve_of,
    mean_accuracy,
    mean_corruption_accuracy,
    measure_curve,
    measure_families,
)
from fastpose.evaluation.families import (
    accuracy_table,
    compare_families,
    format_families,
    read_families,
    write_families,
)
from fastpose.evaluation.metrics import Accuracy
from fastpose.evaluation.scores import ClipScores, count_levels, score_families
from fastpose.models import ModelOutput
from fastpose.settings import EvalConfig, SamplingConfig
from fastpose.settings.families import FAMILIES

SAMPLING = SamplingConfig(clip_len=6, size=(14, 14))
PACKED = waving_clips(12)


def table(**rows):
    """Families at α = 0 and 0.1 of these top-1."""
    return {
        family: {
            alpha: Accuracy(top1, 90.0, 50.0, num_clips=8)
            for alpha, top1 in zip((0.0, 0.1), row, strict=True)
        }
        for family, row in rows.items()
    }


BY_HAND = table(gaussian=(90, 70), drift=(90, 30), swap=(90, 62))


class Sums(nn.Module):
    """A model whose scores tell every coordinate and score that it was fed."""

    def prepare_input(self, batch):
        return batch.keypoints

    def forward(self, x):
        rows = x.flatten(1).double()
        return ModelOutput(torch.stack([rows.sum(1) / 1e3, rows.std(1), rows[:, :9].mean(1)], 1) / 3, rows)


def test_mean_corruption_accuracy_by_hand():
    assert mean_accuracy(BY_HAND["drift"]) == 60
    assert mean_corruption_accuracy(BY_HAND) == pytest.approx((80 + 60 + 76) / 3)  # 72
    found = accuracy_table(BY_HAND, [0.0, 0.1])
    assert found.tolist() == [[90, 70, 80], [90, 30, 60], [90, 62, 76], [90, 54, 72]]
    assert mean_corruption_accuracy({"swap": {0.1: BY_HAND["swap"][0.1]}}) == 62


def test_the_table_of_one_run_by_hand():
    assert format_families("run", [BY_HAND]).splitlines() == [
        "run, top-1 % at α      0    0.1   mean",
        "gaussian            90.0   70.0   80.0",
        "drift               90.0   30.0   60.0",
        "swap                90.0   62.0   76.0",
        "mean                90.0   54.0   72.0",
        "mCA of run: 72.0 %, the mean over 3 families of the mean over 2 levels; α = 0 is among them",
    ]
    noisy = {"drift": {0.1: BY_HAND["drift"][0.1]}}
    assert format_families("run", [noisy]).endswith(
        "30.0 %, the mean over 1 family of the mean over 1 level; α = 0 is not among them"
    )


def test_the_table_of_two_seeds_by_hand():
    other = table(gaussian=(92, 72), drift=(92, 40), swap=(92, 62))
    lines = format_families("arm", [BY_HAND, other]).splitlines()
    assert lines[2].split() == ["drift", "91.0±1.4", "35.0±7.1", "63.0±4.2"]  # 60 and 66
    assert lines[4].split() == ["mean", "91.0±1.4", "56.0±2.8", "73.5±2.1"]  # 72 and 75
    assert lines[5].startswith("mCA of arm: 73.5±2.1 %")


def test_runs_of_a_group_share_a_table_if_they_measured_the_same(tmp_path):
    runs = {"a-s0": BY_HAND, "a-s1": BY_HAND, "a-s2": table(drift=(90, 30)), "b-s0": BY_HAND}
    told = []
    compare_families(
        runs, tmp_path / "families", group=lambda name: name.rsplit("-s", 1)[0], echo=told.append
    )
    assert [text.strip().partition(",")[0] for text in told] == ["a", "a-s2", "b-s0"]
    assert "90.0±0.0" in told[0]
    assert (tmp_path / "families.png").read_bytes()[:4] == b"\x89PNG"
    assert read_families(tmp_path / "families.csv") == runs


def test_csv_of_families(tmp_path):
    write_families(tmp_path / "families.csv", {"run": BY_HAND})
    with open(tmp_path / "families.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[3] == {
        "run": "run",
        "family": "drift",
        "alpha": "0.1",
        "top1_percent": "30.000",
        "top5_percent": "90.000",
        "mean_class_percent": "50.000",
        "num_clips": "8",
    }
    assert len(rows) == 6
    (tmp_path / "families.csv").write_text("run,alpha,top1_percent\na,0,1\n")
    with pytest.raises(ValueError, match="is no table of accuracy over noise"):
        read_families(tmp_path / "families.csv")


def test_families_without_a_common_level_have_no_mean():
    apart = {"drift": {0.1: BY_HAND["drift"][0.1]}, "swap": {0.0: BY_HAND["swap"][0.0]}}
    with pytest.raises(ValueError, match="drift, swap were measured at no noise level in common"):
        format_families("run", [apart])


@settings(max_examples=15)
@given(
    families=st.lists(st.sampled_from(FAMILIES), min_size=1, max_size=4, unique=True),
    alphas=st.lists(st.sampled_from([0.0, 0.02, 0.1, 0.4]), min_size=1, max_size=4, unique=True),
    num_clips=st.integers(1, 2),
)
def test_each_family_is_scored_as_by_itself(families, alphas, num_clips):
    """The same bits go in as the sampler gives for the family, and α = 0 is scored once."""
    options = EvalConfig(
        alphas=tuple(alphas), families=tuple(families), num_clips=num_clips, eval_batch_size=7
    )
    indices, told = PACKED.split("train"), []
    scores = score_families(Sums(), PACKED, indices, SAMPLING, options, seed=3, on_batch=told.append)
    assert list(scores) == families
    levels = len(alphas) * len(families) - (0 in alphas) * (len(families) - 1)
    assert sum(told) == len(indices) * levels == len(indices) * count_levels(alphas, families)
    sampler = ClipSampler(PACKED, SAMPLING, train=False, seed=3)
    for family, found in scores.items():
        assert list(found.by_alpha) == sorted(alphas)
        assert found.labels.tolist() == PACKED.labels[indices].tolist()
        for alpha, level in found.by_alpha.items():
            views = [
                sampler.batch(
                    indices, draw, stream=3, alpha=alpha, families=(family,), draw_frames=num_clips > 1
                )
                for draw in range(num_clips)
            ]
            parts = [Sums()(view.keypoints).logits.float().softmax(1) for view in views]
            assert torch.equal(level, sum(parts) / num_clips)


def test_families_are_measured_as_curves():
    options = EvalConfig(alphas=(0.0, 0.3), eval_batch_size=16)
    families = ("swap", "gaussian", "dropout")
    measured = measure_families(Sums(), PACKED, None, SAMPLING, options, families=families)
    assert tuple(measured) == families
    for family, curve in measured.items():
        alone = measure_curve(Sums(), PACKED, None, SAMPLING, options, family=family)
        for alpha in options.alphas:
            assert torch.equal(curve[alpha].confusion, alone[alpha].confusion)
    assert tuple(measure_families(Sums(), PACKED, None, SAMPLING, options, families="all")) == FAMILIES
    with pytest.raises(ValueError, match="families: no noise family 'swop'"):
        measure_families(Sums(), PACKED, families=("swop",))


def test_families_are_noised_then_filtered():
    """Behind a filter, whole clips are noised: with the noise of the family that is measured."""
    options = EvalConfig(alphas=(0.0, 0.2), denoise="sure")
    found = score_families(Sums(), PACKED, None, SAMPLING, options, families=("drift", "dropout"), seed=2)
    for family, scored in found.items():
        for alpha, level in scored.by_alpha.items():
            noised = noised_clips(PACKED, alpha, seed=2, family=family)
            batch = ClipSampler(Denoiser().filter_clips(noised), SAMPLING, train=False).batch(range(12))
            expected = Sums()(batch.keypoints).logits.float().softmax(1)
            torch.testing.assert_close(level, expected, rtol=0, atol=1e-6)
    drift, dropout = (scored.by_alpha for scored in found.values())
    assert torch.equal(drift[0.0], dropout[0.0])
    assert not torch.equal(drift[0.2], dropout[0.2])


def test_curves_of_scores():
    """Two of three right without noise, one with it."""
    labels = torch.tensor([0, 1, 1])
    right, wrong = torch.eye(2)[[0, 1, 0]], torch.eye(2)[[1, 1, 0]]
    curve = curve_of(ClipScores(labels, {0.0: right, 0.1: wrong}))
    assert mean_accuracy(curve) == pytest.approx(50)
