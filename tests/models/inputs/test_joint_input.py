import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.shared import shared_folder

from fastpose.data.pack.layouts import COCO17, H36M17, KINECT25, LAYOUTS, PENN13, Layout, convert
from fastpose.data.sampling.batch import PoseBatch
from fastpose.models.inputs import motionbert_published as motionbert
from fastpose.models.inputs.joint_input import JointInput

OWN = Layout("mine", ("a", "b", "c"), (), ())


def random_keypoints(seed: int, *shape: int, missing: float = 0.2) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    keypoints = generator.uniform(0, 50, (*shape, 3))
    keypoints[..., 2] = generator.uniform(0.1, 1, shape)
    keypoints[generator.random(shape) < missing] = 0
    return torch.from_numpy(keypoints.astype(np.float32))


def with_draws(keypoints: torch.Tensor, draws: torch.Tensor | None) -> PoseBatch:
    batch, _, frames = keypoints.shape[:3]
    return PoseBatch(
        keypoints,
        torch.zeros(batch, dtype=torch.int64),
        torch.zeros(batch, frames, dtype=torch.int32),
        torch.arange(batch),
        draws,
    )


@pytest.mark.parametrize("source", [COCO17, KINECT25, PENN13, H36M17], ids=lambda layout: layout.name)
def test_clean_form_is_the_converted_layout_in_unit_coordinates(source):
    keypoints = random_keypoints(0, 3, 2, 5, source.num_joints)
    keypoints[1, 1] = 0  # an absent person
    keypoints[0, 0, 0, 0] = torch.tensor([torch.nan, 3, 1])  # damage counts as missing
    joints = JointInput(layout=source, size=(40, 56), max_persons=3).prepare(keypoints)
    assert joints.shape == (3, 3, 5, 17, 3)
    assert joints.dtype == torch.float32
    keypoints[0, 0, 0, 0] = 0
    points, scores = convert(
        keypoints[..., :2].numpy(), keypoints[..., 2].numpy(), source, H36M17, exchange_sides=False
    )
    expected = np.concatenate([points * [2 / 55, 2 / 39] - 1, scores[..., None]], axis=-1)
    expected[scores == 0] = 0
    np.testing.assert_allclose(joints[:, :2].numpy(), expected, atol=1e-6)
    assert not joints[:, 2].any()
    assert not joints[1, 1].any()


def test_own_joints_are_those_of_the_layout():
    settings = JointInput(layout=OWN, joints="own", size=(11, 11), max_persons=1)
    keypoints = torch.tensor([[10.0, 0, 0.5], [5, 5, 1], [3, 3, 0]]).view(1, 1, 1, 3, 3)
    assert settings.num_keypoints == 3
    assert settings.shape(keypoints) == (1, 1, 1, 3, 3)
    expected = torch.tensor([[1, -1, 0.5], [0, 0, 1], [0, 0, 0]])
    torch.testing.assert_close(settings.prepare(keypoints)[0, 0, 0], expected)


def test_out_and_dtype():
    settings = JointInput(layout="coco17")
    keypoints = random_keypoints(1, 2, 2, 4, 17)
    out = torch.full(settings.shape(keypoints), torch.nan, dtype=torch.bfloat16)
    assert settings.dense(keypoints, torch.bfloat16, out) is out
    torch.testing.assert_close(out, settings.dense(keypoints).bfloat16())
    with pytest.raises(ValueError, match="out must be"):
        settings.dense(keypoints, torch.float32, out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": OWN}, "'mine' to 'h36m17'.*--joints own"),
        ({"joints": "coco"}, "unknown joints 'coco'"),
        ({"joints": "own"}, "needs a layout"),
        ({"layout": PENN13, "published": True}, "'penn13'"),
        ({"layout": COCO17, "joints": "own", "published": True}, "'own'"),
        ({"max_persons": 0}, "max_persons"),
        ({"size": (0, 5)}, "size"),
    ],
)
def test_refused_settings(arguments, message):
    with pytest.raises(ValueError, match=message):
        JointInput(**arguments)


def test_keypoints_that_do_not_fit():
    settings = JointInput(layout="coco17", max_persons=1)
    with pytest.raises(ValueError, match="'coco17' has 17 joints"):
        settings.prepare(torch.zeros(1, 1, 2, 13, 3))
    with pytest.raises(ValueError, match="2 persons per clip"):
        settings.prepare(torch.zeros(1, 2, 2, 17, 3))
    with pytest.raises(ValueError, match=r"\[B, M, T, V, 3\]"):
        settings.prepare(torch.zeros(1, 2, 2, 17))


def published_frame(oracle) -> torch.Tensor:
    """The oracle's clip as the sampler shows it: the whole frame, from its corner, in 64 × 64 pixels."""
    frames = oracle["res_det_24"]
    scale = 64 / max(oracle["img_shape"])
    keypoints = motionbert.match_persons(oracle["kp"])[:, frames] * scale
    return torch.from_numpy(motionbert.with_scores(keypoints, oracle["score"][:, frames]))[None]


@pytest.mark.parametrize("persons", [1, 2])
def test_published_form_is_that_of_the_published_code(persons):
    oracle = np.load(shared_folder() / "oracles" / "motionbert_data.npz")
    keypoints = published_frame(oracle)[:, :persons]
    joints = JointInput(layout="coco17", size=(64, 64), published=True).prepare(keypoints)[0]
    expected = oracle["crop_scale_2" if persons == 2 else "one_person_crop_2"]
    np.testing.assert_allclose(joints.numpy(), expected, atol=1e-6)


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.97, 1.0]), st.integers(1, 6))
def test_published_form_of_a_batch_is_that_of_each_clip(seed, missing, frames):
    keypoints = random_keypoints(seed, 3, 2, frames, 17, missing=missing)
    keypoints[0, 1] = 0
    draws = torch.rand(3, 12, generator=torch.Generator().manual_seed(seed))
    settings = JointInput(layout="coco17", size=(50, 50), published=True)
    joints = settings.prepare(with_draws(keypoints, draws))
    for clip in range(3):
        camera = motionbert.to_camera(keypoints[clip, ..., :2].numpy().astype(float), (50, 50))
        camera[~(keypoints[clip, ..., 2] > 0).any(-1).any(-1).numpy()] = 0
        plain = motionbert.with_scores(motionbert.to_h36m(camera), keypoints[clip, ..., 2].numpy())
        low, high = motionbert.TRAIN_RATIOS
        ratio = low + (high - low) * float(draws[clip, 8])
        plain = motionbert.crop_scale(motionbert.random_move(plain, draws[clip, :8].numpy()), ratio)
        np.testing.assert_allclose(joints[clip].numpy(), plain, atol=2e-5)
    alone = settings.prepare(with_draws(keypoints[1:2], draws[1:2]))
    assert torch.equal(alone[0], joints[1])


def test_published_form_is_augmented_only_with_draws():
    settings = JointInput(layout="coco17", published=True)
    keypoints = random_keypoints(3, 2, 2, 4, 17)
    still = settings.prepare(with_draws(keypoints, None))
    assert torch.equal(still, settings.prepare(keypoints))
    draws = torch.full((2, 12), 0.5)  # the middle of every range: no turn, no scale, no shift, ratio 2
    torch.testing.assert_close(settings.prepare(with_draws(keypoints, draws)), still, atol=1e-5, rtol=0)
    draws[1, 0] = 0
    moved = settings.prepare(with_draws(keypoints, draws))
    assert (moved[1] - still[1]).abs().max() > 0.01


def test_every_layout_has_all_joints_of_the_target():
    for layout in LAYOUTS.values():
        joints = JointInput(layout=layout, max_persons=1).prepare(torch.ones(1, 1, 1, layout.num_joints, 3))
        assert (joints[..., 2] == 1).all()


def test_a_joint_that_the_layout_lacks_is_missing():
    lame = Layout("without ankles", tuple(name for name in COCO17.joints if not name.endswith("ankle")))
    joints = JointInput(layout=lame, max_persons=1).prepare(torch.ones(1, 1, 1, 15, 3))[0, 0, 0]
    ankles = [H36M17.joints.index(f"{side}_ankle") for side in ("left", "right")]
    assert not joints[ankles].any()
    assert joints[:, 2].sum() == 15
