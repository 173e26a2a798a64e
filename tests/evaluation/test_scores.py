import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clips import waving_clips
from torch import nn

from fastpose.data import ClipSampler, Denoiser
from fastpose.data.sampling.noised import noised_clips
from fastpose.evaluation.curves import curve_of
from fastpose.evaluation.scores import ClipScores, fuse_scores, score_clips
from fastpose.models import ModelOutput, create_model
from fastpose.settings import EvalConfig, SamplingConfig
from fastpose.system.placement import Placement

LABELS = torch.tensor([0, 1, 1])
A = torch.tensor([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]])
B = torch.tensor([[0.1, 0.9], [0.3, 0.7], [0.5, 0.5]])


def scores(*levels, labels=LABELS, alphas=(0.0, 0.1)):
    return ClipScores(labels, dict(zip(alphas, levels, strict=True)))


def test_fusion_by_hand():
    fused = fuse_scores([scores(A, B), scores(B, B)])
    torch.testing.assert_close(fused.by_alpha[0.0], (A + B) / 2)
    torch.testing.assert_close(fused.by_alpha[0.1], B)
    assert curve_of(fused)[0.0].top1_percent == pytest.approx(100 / 3)  # [.35 .65], [.6 .4], [.35 .65]
    fused = fuse_scores([scores(A, A), scores(B, B)], [3, 1])
    torch.testing.assert_close(fused.by_alpha[0.1], 0.75 * A + 0.25 * B)
    assert torch.equal(fused.labels, LABELS)


def test_scores_that_are_no_numbers_count_as_wrong():
    broken = A.clone()
    broken[2] = torch.nan
    fused = fuse_scores([scores(broken, A), scores(B, B)])
    assert curve_of(fused)[0.0].top1_percent == 0
    assert curve_of(fuse_scores([scores(broken, A), scores(B, B)], [0, 1]))[0.0].num_clips == 3


@pytest.mark.parametrize(
    ("members", "weights", "message"),
    [
        ([scores(A, B)], None, "two or more models, got 1"),
        ([scores(A, B)] * 2, [1], "1 fusion weights for 2 models"),
        ([scores(A, B)] * 2, [1, -1], "must be numbers ≥ 0, not all 0"),
        ([scores(A, B), scores(A, B, alphas=(0.0, 0.2))], None, r"levels differ .* \[0.0, 0.1\] and \[0.0, 0.2\]"),
        ([scores(A, B), scores(A, B, labels=LABELS.flip(0))], None, "not scored on the same clips"),
        ([scores(A, B), scores(A[:2], B[:2], labels=LABELS[:2])], None, "not scored on the same clips"),
        ([scores(A, B), scores(torch.rand(3, 5), torch.rand(3, 5))], None, r"numbers of classes: \[2, 5\]"),
    ],
)  # fmt: skip
def test_members_that_do_not_match(members, weights, message):
    with pytest.raises(ValueError, match=message):
        fuse_scores(members, weights)


FP32, BF16 = (Placement(torch.device("cpu"), dtype) for dtype in (torch.float32, torch.bfloat16))
SAMPLING = SamplingConfig(clip_len=6, size=(14, 14))
PACKED = waving_clips(12)


class Recorder(nn.Module):
    """A model whose scores tell every coordinate it was fed; it keeps the shape of each batch."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def prepare_input(self, batch):
        return batch.keypoints

    def forward(self, x):
        assert torch.is_inference_mode_enabled()
        assert not self.training
        self.shapes.append(tuple(x.shape))
        rows = x.flatten(1).double()
        return ModelOutput(torch.stack([rows.sum(1), rows.std(1), rows[:, 0]], 1) / 1e3, rows)


@settings(deadline=None, max_examples=15)
@given(
    size=st.integers(1, 30),
    alphas=st.lists(st.floats(0, 0.5), min_size=1, max_size=5, unique=True),
    count=st.integers(1, 8),
    num_clips=st.integers(1, 2),
    flip_test=st.booleans(),
)
def test_all_levels_in_one_pass_are_scored_as_one_by_one(size, alphas, count, num_clips, flip_test):
    """The same bits go in, whatever the batch, and no batch holds more than was asked for."""
    indices = PACKED.split("train")[:count]
    options = EvalConfig(alphas=tuple(alphas), num_clips=num_clips, flip_test=flip_test, eval_batch_size=size)
    model, told = Recorder(), []
    scores = score_clips(model, PACKED, indices, SAMPLING, options, placement=FP32, on_batch=told.append)
    assert model.training
    assert sum(told) == count * len(alphas)
    assert sum(shape[0] for shape in model.shapes) == count * len(alphas) * num_clips * (1 + flip_test)
    passes = (1 + flip_test) * num_clips
    assert [shape[0] for shape in model.shapes[:-passes]] == [size] * (len(model.shapes) - passes)
    assert model.shapes[-1][0] <= size
    assert scores.labels.tolist() == PACKED.labels[indices].tolist()
    sampler = ClipSampler(PACKED, SAMPLING, train=False)
    for alpha in alphas:
        total = 0
        for draw in range(num_clips):
            for flip in (False, True)[: 1 + flip_test]:
                batch = sampler.batch(
                    indices, draw, stream=3, alpha=alpha, draw_frames=num_clips > 1, flip=flip
                )
                with torch.inference_mode():
                    total = total + Recorder().eval()(batch.keypoints).logits.float().softmax(1)
        assert torch.equal(scores.by_alpha[alpha], total / (num_clips * (1 + flip_test)))


@pytest.mark.parametrize(("placement", "tolerance"), [(FP32, 1e-5), (BF16, 1e-2)])
@pytest.mark.parametrize("kind", ["skeleton", "heatmap"])
def test_a_network_scores_all_levels_as_one_by_one(kind, placement, tolerance):
    torch.manual_seed(0)
    model = create_model("posec3d", input=kind, num_classes=3, max_persons=1, size=SAMPLING.size)
    indices, alphas = PACKED.split("train"), (0.0, 0.05, 0.3)
    options = EvalConfig(alphas=alphas, eval_batch_size=7)
    together = score_clips(model, PACKED, indices, SAMPLING, options, placement=placement)
    for alpha in alphas:
        alone = EvalConfig(alphas=(alpha,), eval_batch_size=64)
        expected = score_clips(model, PACKED, indices, SAMPLING, alone, placement=placement).by_alpha[alpha]
        torch.testing.assert_close(together.by_alpha[alpha], expected, rtol=0, atol=tolerance)


def test_a_model_that_fails_is_left_as_it_was():
    model = Recorder()
    model.prepare_input = None
    with pytest.raises(TypeError):
        score_clips(model, PACKED, PACKED.split("test"), SAMPLING, EvalConfig(), placement=FP32)
    assert model.training
    with pytest.raises(ValueError, match="no clip to score"):
        score_clips(model, PACKED, PACKED.split("test")[:0], SAMPLING, EvalConfig(), placement=FP32)


def test_clips_are_noised_then_filtered_then_sampled(tmp_path):
    clips, indices = waving_clips(8), np.array([5, 0, 3])
    model = create_model("posec3d", input="skeleton", num_classes=3, num_keypoints=17, max_persons=1).eval()
    Denoiser.fit(clips).save(tmp_path / "prior.safetensors")
    for choice in ("sure", str(tmp_path / "prior.safetensors")):
        settings = EvalConfig(alphas=(0.0, 0.1), denoise=choice)
        found = score_clips(model, clips, indices, SAMPLING, settings, seed=4, placement=FP32)
        for alpha, scores in found.by_alpha.items():
            filtered = Denoiser.open(choice).filter_clips(noised_clips(clips.subset(indices), alpha, seed=4))
            batch = ClipSampler(filtered, SAMPLING, train=False).batch(range(3))
            with torch.inference_mode():
                expected = model(batch).logits.softmax(1)
            torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
        assert found.labels.tolist() == clips.labels[indices].tolist()
        sampler = ClipSampler(clips, SAMPLING, train=False, seed=4)  # as training gives one, and no seed
        again = score_clips(model, clips, indices, settings=settings, placement=FP32, sampler=sampler)
        assert torch.equal(again.by_alpha[0.1], found.by_alpha[0.1])
    with pytest.raises(FileNotFoundError):
        score_clips(model, clips, settings=EvalConfig(denoise=str(tmp_path / "missing")), placement=FP32)
