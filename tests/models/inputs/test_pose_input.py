"""Inputs made from keypoints: channel order, missing joints, normalisation, calls of the renderer."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastpose.data import LAYOUTS, Layout
from fastpose.data.sampling.batch import PoseBatch
from fastpose.models import create_model, prepare_input
from fastpose.models.inputs.pose_input import PoseInput
from fastpose.ops import render_heatmaps

LAYOUT = Layout("three", joints=("a", "b", "c"), pairs=(), limbs=((0, 1), (1, 2)))


def keypoints(batch=2, persons=2, frames=4, joints=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.rand(batch, persons, frames, joints, 3, generator=generator) * torch.tensor([20, 30, 1]) + 0.01
    )


@given(
    batch=st.integers(1, 3),
    persons=st.integers(1, 3),
    frames=st.integers(1, 4),
    joints=st.integers(1, 5),
    score_channel=st.booleans(),
    normalize=st.booleans(),
)
def test_skeleton_channels(batch, persons, frames, joints, score_channel, normalize):
    points = keypoints(batch, persons, frames, joints)
    points[-1, -1, -1, -1, 2] = 0
    coordinates = 3 if score_channel else 2
    x = prepare_input(
        points,
        "skeleton",
        max_persons=3,
        size=(31, 21),
        score_channel=score_channel,
        normalize=normalize,
    )
    assert x.shape == (batch, 3 * joints * coordinates, frames, 1, 1)
    x = x.view(batch, 3, joints, coordinates, frames)
    for b in range(batch):
        for m in range(3):
            for v in range(joints):
                for t in range(frames):
                    value = x[b, m, v, :, t].tolist()
                    if m >= persons or points[b, m, t, v, 2] <= 0:
                        assert value == [0] * coordinates
                        continue
                    px, py, score = points[b, m, t, v].tolist()
                    expected = [2 * px / 20 - 1, 2 * py / 30 - 1] if normalize else [px, py]
                    assert value == pytest.approx([*expected, score][:coordinates], abs=1e-6)


def test_missing_joints_are_zero_whatever_they_hold():
    points = keypoints()
    points[0, 0, 0, 0] = torch.tensor([float("nan"), float("inf"), 0])
    points[0, 0, 0, 1] = torch.tensor([5.0, 5.0, -1.0])
    points[0, 0, 0, 2] = torch.tensor([5.0, 5.0, float("nan")])
    x = prepare_input(points, "skeleton", score_channel=True)
    assert torch.count_nonzero(x[0, :9, 0]) == 0
    assert x.isfinite().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("coordinate", [0, 1, 2])
def test_a_joint_with_a_number_that_is_not_finite_is_missing(coordinate, value):
    points = keypoints()
    points[1, 0, 2, 1, coordinate] = value
    without = points.clone()
    without[1, 0, 2, 1] = 0
    for options in ({}, {"score_channel": True}, {"normalize": False}, {"duplicate_person": True}):
        x = prepare_input(points, "skeleton", **options)
        assert torch.equal(x, prepare_input(without, "skeleton", **options))


def test_a_layout_may_be_given_by_name():
    points = keypoints(joints=17)
    x = prepare_input(points, "limb", layout="coco17")
    assert torch.equal(x, prepare_input(points, "limb", layout=LAYOUTS["coco17"]))
    model = create_model("posec3d", input="limb", num_classes=2, layout="coco17")
    assert torch.equal(model.dense_input(points), x)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_an_image_of_one_pixel_does_not_divide_by_zero(size):
    assert prepare_input(keypoints(), "skeleton", size=size).isfinite().all()


@pytest.mark.parametrize("slot", [0, 1])
def test_a_lone_person_is_duplicated(slot):
    points = keypoints(batch=3)
    points[0, 1 - slot, ..., 2] = 0  # one person
    points[1, :, ..., 2] = 0  # none
    x = prepare_input(points, "skeleton", duplicate_person=True).view(3, 2, -1)
    plain = prepare_input(points, "skeleton").view(3, 2, -1)
    assert torch.equal(x[0, 0], plain[0, slot])
    assert torch.equal(x[0, 1], plain[0, slot])
    assert torch.equal(x[1:], plain[1:])


def test_a_lone_person_is_duplicated_into_slots_the_batch_lacks():
    x = prepare_input(keypoints(persons=1), "skeleton", duplicate_person=True).view(2, 2, -1)
    assert torch.equal(x[:, 0], x[:, 1])
    assert x.abs().max() > 0


@pytest.mark.parametrize("kind", ["heatmap", "grayscale", "limb"])
def test_drawn_inputs(kind):
    points = keypoints()
    options = {"joint_merge": "max"} if kind == "grayscale" else {}
    limbs = LAYOUT.limbs if kind == "limb" else None
    expected = render_heatmaps(points, (31, 21), 0.8, kind, limbs, **options)
    x = prepare_input(points, kind, layout=LAYOUT, size=(31, 21), sigma=0.8, **options)
    assert torch.equal(x, expected)
    assert x.abs().max() > 0


@pytest.mark.parametrize("kind", ["heatmap", "grayscale", "limb", "skeleton"])
def test_models_take_what_they_prepare(kind):
    layout = {"layout": LAYOUT} if kind == "limb" else {}
    model = create_model("posec3d", input=kind, num_classes=4, num_keypoints=3, size=(8, 8), **layout).eval()
    batch = SimpleNamespace(keypoints=keypoints())
    x = model.dense_input(batch)
    assert torch.equal(x, prepare_input(batch, kind, size=(8, 8), **layout))
    for input in (x, model.prepare_input(batch)):
        output = model(input)
        assert output.logits.shape == (2, 4)
        assert output.features.shape == (2, 512)
    out = torch.full_like(x, torch.nan)
    assert model.dense_input(batch, out=out) is out
    assert torch.equal(out, x)


@pytest.mark.parametrize("kind", ["heatmap", "skeleton"])
def test_dtype(kind):
    x = prepare_input(keypoints(), kind, dtype=torch.bfloat16)
    assert x.dtype == torch.bfloat16
    assert torch.equal(x, prepare_input(keypoints(), kind).bfloat16())


def test_settings_without_effect_warn():
    with pytest.warns(UserWarning, match="score_channel has no effect on the heatmap input"):
        prepare_input(keypoints(), "heatmap", score_channel=True)
    with pytest.warns(UserWarning, match="joint_merge has no effect on the skeleton input"):
        create_model("posec3d", input="skeleton", num_classes=2, joint_merge="max")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prepare_input(keypoints(), "rgb"), "'rgb'; there are: heatmap, grayscale, limb, skeleton"),
        (lambda: prepare_input(keypoints(), "limb"), "limb input needs a layout"),
        (lambda: prepare_input(keypoints(joints=5), "heatmap", layout=LAYOUT), "has 3 joints, .* have 5"),
        (lambda: prepare_input(keypoints(persons=3), "skeleton"), "3 persons per clip, the model takes 2"),
        (lambda: prepare_input(keypoints()[0], "skeleton"), r"\[B, M, T, V, 3\], got \(2, 4, 3, 3\)"),
        (lambda: prepare_input(keypoints()[..., :2], "skeleton"), r"got \(2, 2, 4, 3, 2\)"),
        (lambda: prepare_input(keypoints().long(), "skeleton"), "got torch.int64"),
        (lambda: prepare_input("clip", "skeleton"), "got str"),
        (lambda: prepare_input(keypoints(), "skeleton", size=(0, 4)), r"at least 1 pixel, got \(0, 4\)"),
        (lambda: prepare_input(keypoints(), "skeleton", size=4), "at least 1 pixel, got 4"),
        (lambda: prepare_input(keypoints(), "limb", layout="coco"), "no layout 'coco'"),
        (lambda: prepare_input(keypoints(), "skeleton", max_persons=0), "max_persons must be at least 1"),
        (
            lambda: prepare_input(keypoints(), "skeleton", out=torch.empty(2, 3)),
            r"out must be torch.float32 \(2, 12, 4, 1, 1\), got torch.float32 \(2, 3\)",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("score_channel", [False, True])
def test_evidence_stands_beside_the_coordinates(score_channel):
    points = keypoints(batch=2, persons=1, frames=4, joints=3)
    points[0, 0, 1, 2] = 0
    generator = torch.Generator().manual_seed(1)
    batch = PoseBatch(
        points, torch.zeros(2), torch.zeros(2, 4), torch.arange(2),
        presence=torch.rand(2, 1, 4, 3, generator=generator), noise_levels=torch.tensor([[-1.0, -2], [-3, -4]]),
    )  # fmt: skip
    options = {"layout": LAYOUT, "max_persons": 2, "size": (31, 21), "score_channel": score_channel}
    with_evidence = PoseInput(input="skeleton", evidence=True, **options)
    coordinates = 3 if score_channel else 2
    assert with_evidence.num_channels(3) == 2 * 3 * (coordinates + 1) + 2
    x = with_evidence.dense(batch)
    assert x.shape == with_evidence.shape(points) == (2, with_evidence.num_channels(3), 4, 1, 1)
    joints = x[:, :-2].view(2, 2, 3, coordinates + 1, 4)
    plain = PoseInput(input="skeleton", **options).dense(batch).view(2, 2, 3, coordinates, 4)
    torch.testing.assert_close(joints[:, :, :, :-1], plain, rtol=0, atol=0)
    torch.testing.assert_close(joints[:, 0, :, -1], batch.presence[:, 0].transpose(1, 2), rtol=0, atol=0)
    assert (joints[:, 1] == 0).all()  # the person who is not there
    torch.testing.assert_close(x[:, -2:, :, 0, 0], batch.noise_levels[..., None].expand(-1, -1, 4))
    with pytest.raises(ValueError, match="the batch lacks; expected a PoseBatch of a sampler with"):
        with_evidence.dense(points)


def test_evidence_is_left_out_of_drawn_inputs():
    drawn = PoseInput(input="heatmap", layout=LAYOUT, evidence=True)
    assert drawn.num_channels(3) == 3
    assert drawn.dense(keypoints()).shape[1] == 3
