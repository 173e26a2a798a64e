"""The renderer against PYSKL's own outputs, hand-computed cases, and itself across backends."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.shared import shared_folder
from torch.testing import assert_close

from fastpose.ops import render_heatmaps

BACKENDS = ["native", "reference"]
ORACLE_CASES = [
    "borders_56",
    "clip_T24_M1",
    "limb_ntu",
    "no_score",
    "scores_eps",
    "scores_ignored",
    "sigma1_3",
    "two_overlap",
    "zero_pose",
]
RELATIVE_TOLERANCE = {torch.float32: 5e-4, torch.float16: 1e-3, torch.bfloat16: 1e-2}
LIMBS = [(0, 1), (1, 2), (2, 0)]


def one_joint(x: float, y: float, score: float = 1.0) -> torch.Tensor:
    return torch.tensor([x, y, score]).reshape(1, 1, 1, 1, 3)


def random_poses(shape: tuple[int, int, int, int], size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    """[B, M, T, V, 3], some joints beyond the borders, some without a score."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    xy = torch.rand(*shape, 2, generator=generator) * torch.tensor([width + 10.0, height + 10.0]) - 5
    score = torch.rand(*shape, 1, generator=generator)
    return torch.cat([xy, torch.where(score < 0.2, 0, score)], -1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ORACLE_CASES)
def test_agrees_with_pyskl(case, backend):
    with np.load(shared_folder() / "oracles" / "heatmaps.npz") as oracles:
        params = json.loads(str(oracles[f"{case}/params"]))
        keypoints, expected = oracles[f"{case}/kp"], oracles[f"{case}/out"]  # [M, T, V, 2], [T, C, H, W]
        score = np.ones(keypoints.shape[:3], np.float32)
        if f"{case}/score" in oracles and params.get("use_score", True):
            score = oracles[f"{case}/score"]
    poses = torch.from_numpy(np.concatenate([keypoints, score[..., None]], -1))[None]
    limbs = params["skeletons"] if params.get("with_limb") else None
    maps = render_heatmaps(
        poses,
        tuple(params["img_shape"]),
        params.get("sigma", 0.6),
        mode="limb" if limbs else "heatmap",
        limbs=limbs,
        backend=backend,
    )
    assert_close(maps[0].transpose(0, 1), torch.from_numpy(expected), rtol=0, atol=2e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_joint_is_a_gaussian_times_its_score_inside_its_window(backend):
    maps = render_heatmaps(one_joint(3.0, 2.0, 0.5), size=(6, 8), sigma=1.0, backend=backend)
    assert maps.shape == (1, 1, 1, 6, 8)
    expected = torch.zeros(6, 8)
    for y in range(6):  # int(2 - 3)..int(2 + 3), clipped
        for x in range(7):  # int(3 - 3)..int(3 + 3)
            expected[y, x] = 0.5 * math.exp(-((x - 3) ** 2 + (y - 2) ** 2) / 2)
    assert_close(maps[0, 0, 0], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("x", "columns"),
    [
        (-2.9, []),  # int(-1.1) = -1
        (-2.7, [0]),  # int(-0.9) = 0: truncation admits pixel 0, 2.7 px away
        (-1.8, [0]),
        (0.0, [0, 1]),
        (2.5, [0, 1, 2, 3, 4]),  # int(0.7)..int(4.3)
        (6.5, [4, 5, 6, 7]),
        (9.7, [7]),  # int(7.9)
        (9.9, []),  # int(8.1)
    ],
)
def test_windows_truncate_toward_zero(x, columns, backend):
    maps = render_heatmaps(one_joint(x, 3.0), size=(7, 8), sigma=0.6, backend=backend)
    assert maps[0, 0, 0, 3].nonzero().flatten().tolist() == columns
    for column in columns:
        assert maps[0, 0, 0, 3, column].item() == pytest.approx(
            math.exp(-((column - x) ** 2) / 0.72), rel=1e-5
        )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["heatmap", "grayscale", "limb"])
@pytest.mark.parametrize(
    "keypoint",
    [
        (math.nan, 3.0, 1.0),
        (3.0, math.inf, 1.0),
        (-math.inf, 3.0, 1.0),
        (3.0, 3.0, math.nan),
        (3.0, 3.0, math.inf),
        (3.0, 3.0, 0.000999),
        (3.0, 3.0, -1.0),
        (3e38, 3.0, 1.0),
        (3.0, -1e10, 1.0),
        (2147483648.0, 3.0, 1.0),
    ],
    ids=str,
)
def test_joints_that_draw_nothing(keypoint, mode, backend):
    limbs = [(0, 1)] if mode == "limb" else None
    poses = torch.tensor([keypoint, (5.0, 5.0, 1.0 if mode == "limb" else 0.0)]).reshape(1, 1, 1, 2, 3)
    assert render_heatmaps(poses, (9, 9), mode=mode, limbs=limbs, backend=backend).count_nonzero() == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_scores_at_the_threshold_and_above_one(backend):
    assert render_heatmaps(one_joint(2, 2, 0.001), (5, 5), backend=backend).amax().item() == np.float32(0.001)
    assert render_heatmaps(one_joint(2, 2, 7.5), (5, 5), backend=backend).amax().item() == 7.5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("joint_merge", "centre"), [(None, 1.2), ("sum", 1.2), ("max", 0.7)])
def test_grayscale_merges_persons_before_joints(joint_merge, centre, backend):
    scores = torch.tensor([[0.5, 0.3], [0.2, 0.7]])  # [M, V], all joints on one pixel
    poses = torch.cat([torch.full((2, 2, 2), 2.0), scores[..., None]], -1)[None, :, None]
    maps = render_heatmaps(poses, (5, 5), mode="grayscale", joint_merge=joint_merge, backend=backend)
    assert maps.shape == (1, 1, 1, 5, 5)
    assert maps[0, 0, 0, 2, 2].item() == pytest.approx(centre)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_limb_is_the_distance_to_its_segment(backend):
    poses = torch.tensor([[2.0, 3.0, 0.8], [6.0, 3.0, 0.4]]).reshape(1, 1, 1, 2, 3)
    maps = render_heatmaps(poses, (8, 10), sigma=0.6, mode="limb", limbs=[(0, 1)], backend=backend)[0, 0, 0]
    beside, two_beside = math.exp(-1 / 0.72), math.exp(-1 / 0.18)
    assert_close(maps[3, 2:7], torch.full((5,), 0.4))
    assert_close(maps[2, 2:7], torch.full((5,), 0.4 * beside))
    assert maps[3, 7].item() == pytest.approx(0.4 * beside)
    assert maps[2, 7].item() == pytest.approx(0.4 * math.exp(-2 / 0.72))
    assert maps[1, 4].item() == pytest.approx(0.4 * two_beside**1, rel=1e-4)
    assert maps[:, 8:].count_nonzero() == 0  # int(6 + 1.8) = 7
    assert maps[5:].count_nonzero() == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("length", "as_joint"), [(0.0, True), (0.99, True), (1.0, False)])
def test_a_limb_under_a_pixel_is_its_first_joint(length, as_joint, backend):
    poses = torch.tensor([[4.3, 4.6, 0.9], [4.3 + length, 4.6, 0.5]]).reshape(1, 1, 1, 2, 3)
    if length == 1.0:
        poses[..., 0] = torch.tensor([4.0, 5.0])
    limb = render_heatmaps(poses, (9, 9), mode="limb", limbs=[(0, 1)], backend=backend)
    joint = render_heatmaps(poses[..., :1, :], (9, 9), backend=backend)
    assert torch.equal(limb, joint) == as_joint
    poses[..., 1, 2] = 0.0005  # the threshold holds for the smaller score
    assert render_heatmaps(poses, (9, 9), mode="limb", limbs=[(0, 1)], backend=backend).count_nonzero() == 0


def test_a_limb_whose_end_is_far_away_stays_sharp():
    poses = torch.tensor([[4.0, 4.0, 1.0], [4.0 + 9e5, 4.0 + 9e5, 1.0]]).reshape(1, 1, 1, 2, 3)
    maps = render_heatmaps(poses, (32, 32), mode="limb", limbs=[(0, 1)])[0, 0, 0]
    assert_close(maps.diagonal()[4:], torch.ones(28), rtol=0, atol=1e-5)
    assert_close(maps.diagonal(1)[4:], torch.full((27,), math.exp(-0.5 / 0.72)), rtol=0, atol=1e-5)


coordinates = st.one_of(
    st.floats(-6, 70, width=32),
    st.integers(-6, 70).map(float),
    st.integers(-12, 140).map(lambda half: half / 2),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e9, -3e38, 2.0**24, -0.0]),
)
scores = st.one_of(st.floats(0, 1.5, width=32), st.sampled_from([math.nan, math.inf, -1.0, 0.001, 0.0]))


@given(data=st.data())
def test_native_is_as_exact_as_the_reference(data):
    shape = data.draw(st.tuples(*[st.integers(1, 3)] * 4))  # B, M, T, V
    size = data.draw(
        st.one_of(
            st.sampled_from([(1, 1), (56, 56), (7, 123)]), st.tuples(st.integers(1, 66), st.integers(1, 66))
        )
    )
    sigma = data.draw(st.sampled_from([0.1, 0.6, 1.3, 5.0, 40.0]))
    mode = data.draw(st.sampled_from(["heatmap", "grayscale", "limb"]))
    dtype = data.draw(st.sampled_from(list(RELATIVE_TOLERANCE)))
    memory_format = data.draw(st.sampled_from([torch.contiguous_format, torch.channels_last_3d]))
    joint = st.tuples(coordinates, coordinates, scores)
    count = math.prod(shape)
    joints = data.draw(st.lists(joint, min_size=count, max_size=count))
    poses = torch.tensor(joints, dtype=torch.float32).reshape(*shape, 3)
    settings = {
        "size": size,
        "sigma": sigma,
        "mode": mode,
        "limbs": [(0, shape[3] - 1), (shape[3] - 1, 0)] if mode == "limb" else None,
        "joint_merge": data.draw(st.sampled_from(["sum", "max"])) if mode == "grayscale" else None,
    }
    truth = render_heatmaps(poses.double(), **settings, dtype=torch.float64, backend="reference")
    expected = render_heatmaps(poses, **settings, dtype=dtype, backend="reference")
    out = torch.full_like(expected, math.nan).to(memory_format=memory_format)
    result = render_heatmaps(poses, **settings, dtype=dtype, out=out, backend="native")
    assert result is out
    assert torch.isfinite(result).all()
    assert (result == 0).logical_or(result > 0).all()
    allowed = (expected.double() - truth).abs() + RELATIVE_TOLERANCE[dtype] * truth + 1e-7
    assert ((result.double() - truth).abs() <= allowed).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_results_are_the_float32_results_rounded_to_nearest_even(dtype):
    poses = random_poses((2, 2, 40, 17), (56, 56))
    poses[..., 2] *= torch.logspace(-3, 5, 40)[:, None]  # float16 subnormals to beyond its range
    full = render_heatmaps(poses)
    for memory_format in [torch.contiguous_format, torch.channels_last_3d]:
        out = torch.full_like(full, math.nan, dtype=dtype).to(memory_format=memory_format)
        assert torch.equal(render_heatmaps(poses, dtype=dtype, out=out), full.to(dtype))


@pytest.mark.parametrize("mode", ["heatmap", "grayscale", "limb"])
@pytest.mark.parametrize("size", [(56, 56), (63, 123), (500, 31)], ids=str)
def test_threads_layouts_and_batch_order_do_not_change_the_result(mode, size):
    poses = random_poses((9, 2, 5, 3), size)
    limbs = LIMBS if mode == "limb" else None
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        single = render_heatmaps(poses, size, mode=mode, limbs=limbs)
        torch.set_num_threads(2)
        double = render_heatmaps(poses, size, mode=mode, limbs=limbs)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(single, double)
    assert torch.equal(render_heatmaps(poses.flip(0), size, mode=mode, limbs=limbs).flip(0), single)
    out = torch.full_like(single, math.nan).to(memory_format=torch.channels_last_3d)
    assert torch.equal(render_heatmaps(poses, size, mode=mode, limbs=limbs, out=out), single)


def test_outputs_beyond_the_caches_are_written_whole():
    poses = random_poses((5, 1, 24, 17), (57, 55))  # 25 MB: streaming stores, unaligned planes
    expected = render_heatmaps(poses, (57, 55), backend="reference")
    for memory_format in [torch.contiguous_format, torch.channels_last_3d]:
        out = torch.full_like(expected, math.nan).to(memory_format=memory_format)
        assert_close(render_heatmaps(poses, (57, 55), out=out), expected, rtol=1e-5, atol=1e-7)


def test_an_unaligned_out_is_written_and_its_neighbours_are_not():
    poses = random_poses((1, 1, 3, 2), (7, 9))
    memory = torch.full((3 + 2 * 3 * 63 + 8,), math.nan)
    out = memory[3:-8].view(1, 2, 3, 7, 9)
    render_heatmaps(poses, (7, 9), out=out)
    assert torch.equal(out, render_heatmaps(poses, (7, 9)))
    assert memory[:3].isnan().all()
    assert memory[-8:].isnan().all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["heatmap", "grayscale"])
@pytest.mark.parametrize("shape", [(0, 2, 4, 3), (2, 0, 4, 3), (2, 1, 0, 3), (2, 1, 4, 0)], ids=str)
def test_empty_inputs(shape, mode, backend):
    maps = render_heatmaps(torch.zeros(*shape, 3), (5, 6), mode=mode, backend=backend)
    assert maps.shape == (shape[0], shape[3] if mode == "heatmap" else 1, shape[2], 5, 6)
    assert maps.count_nonzero() == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_keypoints_of_any_strides_and_dtype(backend):
    poses = random_poses((3, 2, 4, 5), (16, 20)).half()  # exact in every dtype
    expected = render_heatmaps(poses.float(), (16, 20), backend=backend)
    permuted = poses.permute(4, 2, 0, 3, 1).contiguous().permute(2, 4, 1, 3, 0)
    sliced = torch.full((6, 2, 4, 5, 4), math.nan, dtype=torch.half)[::2, ..., :3]
    sliced.copy_(poses)
    for variant in [poses, permuted, sliced]:
        assert torch.equal(render_heatmaps(variant, (16, 20), backend=backend), expected)
    assert_close(render_heatmaps(poses.double(), (16, 20), backend=backend), expected, rtol=2e-5, atol=0)


def test_many_calls_at_once_agree():
    from concurrent.futures import ThreadPoolExecutor

    poses = [random_poses((2, 2, 8, 5), (31, 17), seed) for seed in range(12)]
    expected = [render_heatmaps(pose, (31, 17)) for pose in poses]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda pose: render_heatmaps(pose, (31, 17)), poses))
    assert all(torch.equal(result, wanted) for result, wanted in zip(results, expected, strict=True))
