"""The front end: what it makes of known motion and known noise, and that native code does what the definition says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sampling import make_pack, moving_pack, reference_of, sampling_cases

from fastpose.data.sampling.front_end import part_edges
from fastpose.data.sampling.sample_prior import SamplePrior, part_bounds
from fastpose.data.sampling.sampler import ClipSampler
from fastpose.settings import SamplingConfig

JOINTS, CLIP_LEN = 5, 12
PARTS = {
    "means": {"frame_rule": "means"},
    "spread": {"crop": "spread"},
    "white": {"motion_filter": "white"},
    "colours": {"motion_filter": "colours"},
    "evidence": {"evidence": True},
    "all": {"frame_rule": "means", "crop": "spread", "motion_filter": "colours", "window": 0.6},
}


PACK = moving_pack([60] * 40)
PRIOR = SamplePrior.fit(PACK, range(40), CLIP_LEN)


def sampler_of(pack, prior=PRIOR, **options):
    """A sampler whose input pixels are those of the clip, so that keypoints can be compared with it."""
    side = int(pack.image_sizes.max())
    options = {"train": False, "clip_len": CLIP_LEN, "crop": "frame", "size": (side, side)} | options
    return ClipSampler(pack, prior=prior, **options)


def with_noise(pack, deviation, drift=0.0, seed=1):
    """The same clips with noise of such a deviation in pixels, of which a share of the variance is drift."""
    rng = np.random.default_rng(seed)
    white, steps = rng.standard_normal((2, *pack.keypoints.shape))
    wander = np.empty_like(steps)
    for clip, length in enumerate(pack.num_frames):
        begin = pack.offsets[clip]
        wander[begin] = steps[begin]
        for row in range(begin + 1, begin + length):
            wander[row] = 0.9 * wander[row - 1] + np.sqrt(1 - 0.81) * steps[row]
    noise = deviation * (np.sqrt(1 - drift) * white + np.sqrt(drift) * wander)
    noisy = make_pack([(1, int(length)) for length in pack.num_frames], pack.keypoints.shape[1])
    noisy.__dict__.update(pack.__dict__, keypoints=(pack.keypoints + noise).astype(np.float32))
    return noisy


def levels_in_pixels(batch, side):
    return torch.exp(batch.noise_levels.double()) * side / 2


@settings(max_examples=150)
@given(
    lengths=st.lists(st.integers(1, 2000), min_size=1, max_size=4),
    count=st.integers(1, 40),
    window=st.floats(0.01, 1.0),
    data=st.data(),
)
def test_parts_cover_their_stretch_in_order(lengths, count, window, data):
    drawn = None
    if data.draw(st.booleans()):
        seed = data.draw(st.integers(0, 1000))
        drawn = torch.from_numpy(np.random.default_rng(seed).random((len(lengths), count + 1), np.float32))
    begins, ends = part_edges(torch.tensor(lengths), count, drawn, window)
    for i, length in enumerate(lengths):
        begin, end = begins[i].numpy(), ends[i].numpy()
        assert (begin >= 0).all()
        assert (end <= length).all()
        assert (end > begin).all()
        assert (np.diff(begin) >= 0).all()
        assert (np.diff(end) >= 0).all()
        assert (begin[1:] <= end[:-1]).all()  # no frame between two parts is left out
        shown = end[-1] - begin[0]
        assert shown >= np.floor(window * length)
        if drawn is None:
            assert shown == length
            whole = part_bounds(length, count)
            np.testing.assert_array_equal(begin, whole[0])
            np.testing.assert_array_equal(end, whole[1])


def test_a_frame_is_the_mean_of_its_part_and_says_how_much_was_seen():
    pack = make_pack([(1, 8)], 2)
    pack.scores[1, 0] = 0  # joint 0 is missing in frame 1
    pack.scores[4:6, 1] = 0  # joint 1 in frames 4 and 5
    batch = sampler_of(pack, clip_len=4, frame_rule="means").batch([0])
    points, scores = pack.keypoints, pack.scores
    np.testing.assert_allclose(batch.keypoints[0, 0, 0, 0], [*points[0, 0], scores[0, 0]], rtol=1e-6)
    mean = [*points[:2, 1].mean(0), scores[:2, 1].mean()]
    np.testing.assert_allclose(batch.keypoints[0, 0, 0, 1], mean, rtol=1e-6)
    assert (batch.keypoints[0, 0, 2, 1] == 0).all()
    np.testing.assert_array_equal(batch.presence[0, 0], [[0.5, 1], [1, 1], [1, 0], [1, 1]])
    np.testing.assert_array_equal(batch.frames[0], [0, 2, 4, 6])


@pytest.mark.parametrize("deviation", [0.5, 5.0, 50.0])
def test_white_noise_is_told_from_motion(deviation):
    pack = with_noise(moving_pack([200] * 6, seed=3), deviation)
    side = 1920
    plain = levels_in_pixels(sampler_of(pack, evidence=True).batch(range(6)), side)
    np.testing.assert_allclose(
        plain[:, 0], np.clip(deviation, 0.96, None), rtol=0.12
    )  # 1e-3 of half the frame
    both = levels_in_pixels(
        sampler_of(pack, motion_filter="colours", frame_rule="means").batch(range(6)), side
    )
    if deviation > 1:
        np.testing.assert_allclose(both[:, 0], deviation, rtol=0.2)
        assert both[:, 1].median() < deviation / 2


def test_drift_is_told_from_white_noise():
    clips = moving_pack([120] * 20, seed=5)
    told = {
        drift: levels_in_pixels(
            sampler_of(with_noise(clips, 20.0, drift), **PARTS["means"], **PARTS["colours"]).batch(range(20)),
            1920,
        ).median(0)[0]
        for drift in (0.0, 1.0)
    }
    assert told[1.0][1] > 2 * told[0.0][1]
    assert told[1.0][0] < 0.5 * told[0.0][0]
    assert 8 < told[1.0][1] < 32  # second differences see 5


@pytest.mark.parametrize(("drift", "most"), [(0.0, 0.55), (1.0, 0.9)])
def test_the_filter_brings_joints_nearer_to_the_truth(drift, most):
    clips = moving_pack([60] * 30, seed=7)
    noisy = with_noise(clips, 30.0, drift)
    truth = sampler_of(clips, frame_rule="means").batch(range(30)).keypoints
    raw, filtered = (
        sampler_of(noisy, frame_rule="means", **choice).batch(range(30)).keypoints
        for choice in ({}, {"motion_filter": "colours"})
    )
    error = [((each - truth)[..., :2] ** 2).mean().sqrt().item() for each in (raw, filtered)]
    assert error[1] < most * error[0]


@pytest.mark.parametrize("rule", ["white", "colours"])
def test_a_clean_clip_comes_back_unharmed(rule):
    clips = moving_pack([60] * 30, seed=9)
    truth, filtered = (
        sampler_of(clips, frame_rule="means", **choice).batch(range(30)).keypoints[..., :2]
        for choice in ({}, {"motion_filter": rule})
    )
    assert ((filtered - truth) ** 2).mean().sqrt() < 0.5  # pixels of a body of 500


def test_missing_joints_are_put_where_they_are_to_be_expected():
    clips = moving_pack([48] * 10, seed=11)
    gaps = moving_pack([48] * 10, seed=11)
    gaps.scores.reshape(10, 48, JOINTS)[:, 12:24, 2] = 0
    options = {"frame_rule": "means", "motion_filter": "white"}
    truth = sampler_of(clips, **options).batch(range(10))
    found = sampler_of(gaps, **options).batch(range(10))
    lost = found.presence[:, 0, :, 2] == 0
    assert lost.sum() == 30  # 3 of 12 parts
    apart = (found.keypoints - truth.keypoints)[:, 0, :, 2, :2][lost]
    about = truth.keypoints[:, 0, :, 2, :2][lost] - truth.keypoints[:, 0, :, 2, :2].mean((0, 1))
    assert (apart**2).mean() < 0.25 * (about**2).mean()
    scores = found.keypoints[:, 0, :, 2, 2]
    assert (scores[lost] > 0).all()
    others = gaps.scores.reshape(10, -1)
    mean = (others.sum(1) / (others > 0).sum(1))[:, None].repeat(CLIP_LEN, 1)
    np.testing.assert_allclose(scores[lost], mean[lost], rtol=1e-5)


def test_joints_that_nobody_has_seen_stay_missing():
    pack = moving_pack([40] * 20)
    pack.scores[:, 0] = 0
    prior = SamplePrior.fit(pack, range(20), CLIP_LEN)
    assert prior.learned().tolist() == [False, True, True, True, True]
    batch = sampler_of(pack, prior, motion_filter="colours").batch([0])
    assert (batch.keypoints[0, 0, :, 0] == 0).all()
    assert (batch.keypoints[0, 0, :, 2, 2] > 0).all()


def test_the_box_does_not_grow_with_noise():
    clips = moving_pack([100] * 8, seed=13)
    noisy = with_noise(clips, 60.0)

    def sizes(pack, **options):
        """How large the bodies appear: the deviation of the joints of the clean clip in the same crop."""
        sampler = ClipSampler(pack, train=False, size=(100, 100), clip_len=CLIP_LEN, prior=PRIOR, **options)
        points = sampler.batch(range(8)).keypoints[..., :2]
        return points.std((1, 2, 3)).amax(1)

    spread = [
        sizes(pack, crop="spread", frame_rule="means", motion_filter="white") for pack in (clips, noisy)
    ]
    np.testing.assert_allclose(spread[1], spread[0], rtol=0.15)
    box = [sizes(pack, crop="box", frame_rule="means", motion_filter="off") for pack in (clips, noisy)]
    assert (abs(spread[1] / spread[0] - 1) < abs(box[1] / box[0] - 1)).float().mean() > 0.8


@settings(max_examples=80)
@given(case=sampling_cases(), part=st.sampled_from(list(PARTS)), lost=st.booleans())
def test_native_code_does_what_the_definition_says(case, part, lost):
    pack, options, request = case
    options |= PARTS[part]
    prior = None
    if options.get("motion_filter", "off") != "off":
        joints = pack.keypoints.shape[1]
        prior = PRIORS.setdefault(
            joints, SamplePrior.fit(moving_pack([30] * 12, 1, joints=joints), range(12), 9)
        )
    sampler = ClipSampler(pack, prior=prior, **options)
    got = sampler.batch(range(len(pack.labels)), **request)
    expected = reference_of(sampler).batch(range(len(pack.labels)), **request)
    np.testing.assert_array_equal(got.frames, expected.frames)
    np.testing.assert_array_equal(got.presence, expected.presence)
    np.testing.assert_array_equal(got.keypoints[..., 2] > 0, expected.keypoints[..., 2] > 0)
    np.testing.assert_allclose(got.keypoints[..., 2], expected.keypoints[..., 2], rtol=1e-5)
    np.testing.assert_allclose(got.noise_levels, expected.noise_levels, atol=1e-3)
    scale = max(1.0, float(expected.keypoints[..., :2].abs().max())) / 100
    np.testing.assert_allclose(got.keypoints, expected.keypoints, rtol=0, atol=2e-3 * scale)


PRIORS: dict[int, SamplePrior] = {}


@pytest.mark.parametrize("part", PARTS)
def test_a_sample_depends_on_its_clip_alone(part):
    pack = moving_pack([5, 60, 33, 1, 90] * 3, seed=2, persons=2, missing=0.2)
    sampler = ClipSampler(pack, clip_len=CLIP_LEN, prior=PRIOR, **PARTS[part])
    request = {"alpha": 0.1, "epoch": 3, "families": ("gaussian", "drift", "dropout", "drop_random")}
    everything = sampler.batch(range(15), **request)
    order = [11, 3, 3, 14]
    for threads in (1, 2):
        got = ClipSampler(pack, clip_len=CLIP_LEN, prior=PRIOR, threads=threads, **PARTS[part]).batch(
            order, **request
        )
        for name in ("keypoints", "frames", "presence", "noise_levels"):
            torch.testing.assert_close(getattr(got, name), getattr(everything, name)[order], rtol=0, atol=0)


def test_a_mirrored_sample_is_the_mirror_image():
    pack = moving_pack([40] * 6, seed=4, missing=0.1)
    sampler = ClipSampler(pack, train=False, clip_len=CLIP_LEN, prior=PRIOR, **PARTS["all"])
    plain, mirrored = (sampler.batch(range(6), alpha=0.1, flip=flip) for flip in (False, True))
    pairs = torch.from_numpy(pack.layout.flip_index())
    torch.testing.assert_close(mirrored.presence, plain.presence[..., pairs])
    present = plain.keypoints[..., 2:] > 0
    expected = torch.where(
        present, plain.keypoints * torch.tensor([-1.0, 1, 1]) + torch.tensor([55.0, 0, 0]), 0
    )
    torch.testing.assert_close(mirrored.keypoints, expected[..., pairs, :], rtol=0, atol=1e-4)


def test_persons_are_filtered_one_by_one():
    """A second person elsewhere leaves the first one's frames as they are."""
    pair = moving_pack([40] * 4, seed=6, persons=2)
    rows = np.arange(len(pair.scores)).reshape(4, 2, 40)
    alone = moving_pack([40] * 4, seed=6)
    alone.keypoints[:] = pair.keypoints[rows[:, 0].ravel()]
    alone.scores[:] = pair.scores[rows[:, 0].ravel()]
    together, single = (
        sampler_of(pack, motion_filter="white").batch(range(4)).keypoints for pack in (pair, alone)
    )
    assert together.shape[1] == 2
    # Only the level of the noise is that of both.
    torch.testing.assert_close(together[:, :1], single, rtol=0, atol=0.5)


BAD_CLIPS = {
    "one frame": [1],
    "two frames": [2],
    "shorter than the sample": [7],
}


@pytest.mark.parametrize("alpha", [0.0, 1e3])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("fault", [*BAD_CLIPS, "never seen", "one vanishes", "constant", "tiny"])
def test_whatever_a_clip_is_the_sample_is_finite_and_alike_on_all_backends(fault, part, alpha):
    pack = moving_pack(BAD_CLIPS.get(fault, [30]), persons=2)
    length = int(pack.num_frames[0])
    if fault == "never seen":
        pack.scores[:, 1] = 0
    elif fault == "one vanishes":
        pack.scores[length + 4 :] = 0
    elif fault == "constant":
        pack.keypoints[:] = 400
    elif fault == "tiny":
        pack.keypoints[:] *= 1e-42
    sampler = ClipSampler(pack, clip_len=CLIP_LEN, train=False, prior=PRIOR, **PARTS[part])
    got, expected = (each.batch([0], alpha=alpha) for each in (sampler, reference_of(sampler)))
    for name in ("keypoints", "presence", "noise_levels"):
        values = getattr(got, name)
        assert values.isfinite().all()
        scale = max(1.0, float(values.abs().max()))
        torch.testing.assert_close(values, getattr(expected, name), rtol=0, atol=1e-4 * scale)


def test_a_prior_survives_being_written_and_damage_is_told():
    again = SamplePrior.from_json(PRIOR.to_json())
    for name in ("mean", "directions", "variances"):
        np.testing.assert_array_equal(getattr(again, name), getattr(PRIOR, name))
    assert (again.rest, again.above, again.clip_len) == (PRIOR.rest, PRIOR.above, PRIOR.clip_len)
    damaged = PRIOR.to_json() | {"variances": PRIOR.to_json()["mean"]}
    with pytest.raises(ValueError, match="a prior of 160 coefficients.* is damaged"):
        SamplePrior.from_json(damaged)


def test_a_prior_of_other_joints_or_none_is_refused():
    other = moving_pack([20], joints=7)
    with pytest.raises(ValueError, match="the prior knows 5 joints, the clips have 7"):
        ClipSampler(other, motion_filter="white", prior=PRIOR)
    with pytest.raises(ValueError, match="motion_filter = 'white' needs a prior"):
        ClipSampler(PACK, motion_filter="white")
    with pytest.raises(ValueError, match="needs two tracks or more, got 1"):
        SamplePrior.fit(PACK, [3], CLIP_LEN)


def test_a_prior_serves_samples_of_another_length():
    clips = moving_pack([90] * 10, seed=21)
    noisy = with_noise(clips, 30.0)
    for clip_len in (7, 48):
        options = {"frame_rule": "means", "clip_len": clip_len}
        truth = sampler_of(clips, **options).batch(range(10)).keypoints
        raw = sampler_of(noisy, **options).batch(range(10)).keypoints
        filtered = sampler_of(noisy, motion_filter="colours", **options).batch(range(10)).keypoints
        assert ((filtered - truth) ** 2).mean() < ((raw - truth) ** 2).mean()


def test_what_samplers_read_of_a_prior_is_computed_once(monkeypatch):
    prior = SamplePrior.from_json(PRIOR.to_json())
    first = sampler_of(PACK, prior).batch([0]).keypoints
    monkeypatch.setattr(np.linalg, "eigh", None)
    assert torch.equal(sampler_of(PACK, prior).batch([0]).keypoints, first)


def test_without_a_front_end_nothing_is_said_of_noise():
    batch = ClipSampler(PACK, clip_len=CLIP_LEN).batch([0])
    assert batch.presence is None
    assert batch.noise_levels is None
    for part in PARTS.values():
        assert SamplingConfig(**part).has_front_end
    assert not SamplingConfig().has_front_end
