"""The noise families of ClipSampler against what docs/method.md says of them."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.clips import waving_clips
from support.sampling import assert_matches_reference, make_pack, reference_of, some_families

from fastpose.data.sampling.batch import AlphaRange
from fastpose.data.sampling.loader import PoseDataset
from fastpose.data.sampling.noised import noised_clips
from fastpose.data.sampling.sampler import ClipSampler
from fastpose.settings.families import FAMILIES, FAMILY_MEANINGS, check_families

SIDE = 1000
DROPS = ("drop_uniform", "drop_random", "drop_block")
FRAMES_STAY = [family for family in FAMILIES if family not in DROPS]


def video_pack(shapes, num_joints=9, **options):
    return make_pack(shapes, num_joints, image_size=(SIDE, SIDE), **options)


def video_of(pack, family, alpha, *, clip_len=None, seed=0, clip=0, **request):
    """Every frame of a clip in its own pixels, float32 [M, L, V, 3], and the frames [L]."""
    sampler = ClipSampler(
        pack,
        clip_len=clip_len or int(pack.num_frames[clip]),
        size=(SIDE, SIDE),
        crop="frame",
        train=False,
        seed=seed,
    )
    batch = sampler.batch([clip], stream=3, alpha=alpha, families=(family,), **request)
    return batch.keypoints[0], batch.frames[0]


def offsets_of(pack, family, alpha=0.1, **named):
    """What the family adds to x and y, over σ: float64 [M, L, V, 2]."""
    noisy, clean = (video_of(pack, family, a, **named)[0][..., :2] for a in (alpha, 0.0))
    return (noisy - clean).double() / (alpha * SIDE)


@pytest.mark.parametrize(
    ("family", "distribution"),
    [
        ("laplace", stats.laplace(scale=1 / math.sqrt(2))),
        ("uniform", stats.uniform(-math.sqrt(3), 2 * math.sqrt(3))),
        ("student", stats.t(3, scale=1 / math.sqrt(3))),
    ],
)
def test_white_families_have_their_distribution(family, distribution):
    assert distribution.var() == pytest.approx(1)
    offsets = offsets_of(video_pack([(2, 400)], 25), family)
    for axis in (0, 1):
        assert stats.kstest(offsets[..., axis].ravel(), distribution.cdf).pvalue > 1e-5
    # Independent per person, frame, joint and axis: neighbours' signs along each are.
    for dim in range(4):
        pairs = offsets.narrow(dim, 1, offsets.shape[dim] - 1) * offsets.narrow(
            dim, 0, offsets.shape[dim] - 1
        )
        assert abs(pairs.sign().mean()) < 5 / math.sqrt(pairs.numel()), f"{dim = }"


@given(length=st.integers(1, 60), persons=st.integers(1, 3), seed=st.integers(0, 99))
def test_drift_is_an_autoregression_of_the_normals(length, persons, seed):
    pack = video_pack([(persons, length)])
    normal, drift = (offsets_of(pack, family, seed=seed) for family in ("gaussian", "drift"))
    expected = normal.clone()
    for t in range(1, length):
        expected[:, t] = 0.9 * expected[:, t - 1] + math.sqrt(0.19) * normal[:, t]
    torch.testing.assert_close(drift, expected, rtol=0, atol=1e-5)


def test_drift_is_stationary():
    drift = offsets_of(video_pack([(1, 40)], 1000), "drift")[0]  # 40 frames of 1000 walks, x and y
    for t in (0, 1, 7, 39):
        assert abs(drift[t].var() - 1) < 5 * math.sqrt(2 / drift[t].numel())
    for lag in (1, 5, 20):
        pairs = drift[lag] * drift[0]
        assert abs(pairs.mean() - 0.9**lag) < 5 * math.sqrt(2 / pairs.numel())


def test_outliers_are_a_tenth_of_the_joints():
    pack = video_pack([(2, 300)], 25)
    normal, outliers = (offsets_of(pack, family) for family in ("gaussian", "outliers"))
    hit = (outliers != 0).any(-1)
    assert abs(hit.double().mean() - 0.1) < 5 * math.sqrt(0.09 / hit.numel())
    torch.testing.assert_close(outliers[hit], math.sqrt(10) * normal[hit], rtol=0, atol=1e-5)
    assert abs(outliers.var() - 1) < 0.1


@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_dropout_takes_a_share_of_the_joints(alpha):
    pack = video_pack([(2, 300)], 25, missing=0.2)
    clean, left = (video_of(pack, "dropout", a)[0] for a in (0.0, alpha))
    was, is_left = clean[..., 2] > 0, left[..., 2] > 0
    assert torch.equal(left, torch.where(is_left[..., None], clean, torch.zeros(3)))
    lost = (~is_left)[was].double().mean()
    assert abs(lost - 2 * alpha) < 5 * math.sqrt(2 * alpha * (1 - 2 * alpha) / was.sum())
    more = video_of(pack, "dropout", alpha + 0.05)[0][..., 2] > 0
    assert not (more & ~is_left).any()  # what is lost stays lost at a larger α


def test_occlusion_hides_one_limb_in_one_block():
    length, joints = 40, 9
    pack = video_pack([(2, length)] * 200, joints)
    limbs, starts = Counter(), Counter()
    for clip in range(200):
        clean, left = (video_of(pack, "occlusion", a, clip=clip)[0] for a in (0.0, 0.12))
        gone = left[..., 2] == 0
        assert torch.equal(left[~gone], clean[~gone])
        for hidden in gone:
            frames, limb = hidden.any(1).nonzero().ravel(), hidden.any(0).nonzero().ravel()
            assert torch.equal(hidden.nonzero(), torch.cartesian_prod(frames, limb))
            assert frames.tolist() == list(range(frames[0], frames[0] + 10))  # 0.24 · 40 = 9.6
            assert limb.tolist() == list(range(limb[0], limb[-1] + 1))  # the limbs are a chain
            limbs[tuple(limb.tolist())] += 1
            starts[int(frames[0])] += 1
    expected = {tuple(range(max(0, v - 2), min(joints, v + 3))) for v in range(joints)}
    assert set(limbs) == expected
    assert all(abs(count - 400 / joints) < 5 * math.sqrt(400 / joints) for count in limbs.values())
    assert set(starts) <= set(range(length - 9))
    assert min(starts) < 4
    assert max(starts) > 26


def test_without_limbs_a_joint_is_hidden_alone():
    pack = video_pack([(1, 10)], 7)
    pack.layout.limbs = ()
    gone = video_of(pack, "occlusion", 0.25)[0][0, ..., 2] == 0
    assert gone.sum() == gone.any(0).sum() * 5 == 5


@pytest.mark.parametrize(("alpha", "share"), [(0.1, 0.1), (0.5, 0.5), (3.0, 0.5)])
def test_swap_exchanges_sides_in_a_share_of_the_frames(alpha, share):
    pack = video_pack([(2, 1000)], 7, missing=0.2)
    clean, noisy = (video_of(pack, "swap", a)[0] for a in (0.0, alpha))
    exchanged = clean[..., pack.layout.flip_index(), :]
    swapped = (noisy == exchanged).all(dim=(2, 3))
    assert torch.equal(noisy, torch.where(swapped[..., None, None], exchanged, clean))
    assert abs(swapped.double().mean() - share) < 5 * math.sqrt(share * (1 - share) / swapped.numel())
    assert (swapped[0] != swapped[1]).any()  # persons by themselves


@pytest.mark.parametrize(
    ("length", "alpha", "expected"),
    [
        (10, 0.25, [1, 3, 5, 7, 9]),
        (10, 0.1, [0, 1, 3, 4, 5, 6, 8, 9]),
        (7, 0.45, [3]),
        (6, 10.0, [3]),
        (1, 0.3, [0]),
        (5, 0.04, [0, 1, 2, 3, 4]),  # 4.6 frames
    ],
)
def test_frames_are_left_out_evenly(length, alpha, expected):
    pack = video_pack([(1, length)])
    keypoints, frames = video_of(pack, "drop_uniform", alpha, clip_len=len(expected))
    assert frames.tolist() == expected
    assert torch.equal(keypoints, video_of(pack, "gaussian", 0.0)[0][:, expected])
    # Of the frames that remain, a sampler chooses as of any clip.
    middle = video_of(pack, "drop_uniform", alpha, clip_len=1)[1].tolist()
    assert middle == [expected[len(expected) // 2]]


def frames_left(family, length, alpha, count, clips):
    pack = video_pack([(1, length)] * clips, 1)
    return [tuple(video_of(pack, family, alpha, clip_len=count, clip=i)[1].tolist()) for i in range(clips)]


def test_each_choice_of_frames_is_equally_likely():
    counts = Counter(frames_left("drop_random", 5, 0.2, 3, 1500))
    assert set(counts) == set(itertools.combinations(range(5), 3))
    assert all(abs(count - 150) < 5 * math.sqrt(135) for count in counts.values())


def test_a_block_of_frames_is_left_out():
    counts = Counter(frames_left("drop_block", 6, 0.25, 3, 800))
    assert set(counts) == {(3, 4, 5), (0, 4, 5), (0, 1, 5), (0, 1, 2)}
    assert all(abs(count - 200) < 5 * math.sqrt(150) for count in counts.values())


@pytest.mark.parametrize("family", DROPS)
def test_frames_of_a_batch_are_those_of_the_video(family):
    pack = video_pack([(2, 50)], missing=0.1)
    video, _ = video_of(pack, family, 0.0)
    drawn, frames = video_of(pack, family, 0.2, clip_len=200, draw_frames=True, epoch=5)
    assert len(frames.unique()) == 30  # 0.6 · 50
    assert torch.equal(drawn, video[:, frames.long()])


def test_scores_are_lowered():
    pack = video_pack([(2, 300)], missing=0.2)
    pack.scores[0, :2] = 1e-44, 1.0
    clean, noisy = (video_of(pack, "scores", a)[0] for a in (0.0, 0.2))
    assert torch.equal(noisy[..., :2], clean[..., :2])
    present = clean[..., 2] > 1e-30
    left = (noisy[..., 2] / clean[..., 2])[present].double()
    assert stats.kstest(left, stats.uniform(0.6, 0.4).cdf).pvalue > 1e-5
    least = video_of(pack, "scores", 1000.0)[0][..., 2]
    assert torch.equal(least > 0, clean[..., 2] > 0)
    left = (least / clean[..., 2])[present].double()
    assert stats.kstest(left, stats.uniform(0, 1).cdf).pvalue > 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_changes_at_severity_0(family):
    pack = make_pack([(2, 30), (1, 7)], missing=0.1)
    clean, none = (
        ClipSampler(pack).batch([0, 1], epoch=3, alpha=0.0, families=families)
        for families in (("gaussian",), (family,))
    )
    assert torch.equal(none.keypoints, clean.keypoints)
    assert torch.equal(none.frames, clean.frames)
    clips = waving_clips(2)
    assert noised_clips(clips, 0.0, family=family) is clips


@pytest.mark.parametrize("family", FAMILIES)
@given(alpha=st.sampled_from([0.001, 0.1, 0.3, 0.5, AlphaRange(0, 0.4)]), seed=st.integers(0, 99))
def test_native_agrees_with_the_reference(family, alpha, seed):
    pack = make_pack([(1 + seed % 3, 1 + seed), (2, 9)], 1 + seed % 19, seed=seed, missing=0.2)
    for train in (False, True):
        sampler = ClipSampler(pack, clip_len=1 + seed % 12, seed=seed, train=train)
        assert_matches_reference(sampler, [0, 1, 0], epoch=seed, alpha=alpha, families=(family,))


@pytest.mark.parametrize("family", FRAMES_STAY)
@given(length=st.integers(1, 40), clip_len=st.integers(1, 60), alpha=st.sampled_from([0.05, 0.3]))
def test_a_video_has_one_noise_however_it_is_sampled(family, length, clip_len, alpha):
    pack = video_pack([(2, length)], 6, missing=0.1)
    video, _ = video_of(pack, family, alpha)
    sampled, frames = video_of(pack, family, alpha, clip_len=clip_len, draw_frames=True, epoch=7)
    assert torch.equal(sampled, video[:, frames.long()])


@pytest.mark.parametrize("train", [True, False])
def test_each_clip_draws_its_family(train):
    pack = make_pack([(2, 30)] * 400, 3)
    indices, families = range(400), ("drift", "swap", "drop_block", "scores")
    sampler = ClipSampler(pack, clip_len=4, train=train)

    def chosen(epoch, families=families):
        request = {"epoch": epoch, "stream": 3, "alpha": 0.2, "draw_frames": False, "flip": False}
        mixed = sampler.batch(indices, families=families, **request)
        alone = [sampler.batch(indices, families=(family,), **request) for family in families]
        same = torch.stack(
            [
                (mixed.keypoints == single.keypoints).flatten(1).all(1)
                & (mixed.frames == single.frames).all(1)
                for single in alone
            ]
        )
        assert same.any(0).all()
        return same.int().argmax(0)

    first = chosen(0)
    counts = first.bincount(minlength=4)
    assert (counts - 100).abs().max() < 5 * math.sqrt(75)
    if train:
        assert abs((chosen(1) == first).double().mean() - 0.25) < 5 * math.sqrt(0.1875 / 400)
    else:
        assert torch.equal(chosen(1), first)


@given(families=some_families, seed=st.integers(0, 99))
def test_bits_do_not_depend_on_threads_or_the_batch(families, seed):
    pack = make_pack([(1 + i % 2, 5 + 3 * i) for i in range(20)], 17, missing=0.1)
    request = {"epoch": 7, "stream": 1, "alpha": AlphaRange(0, 0.2), "families": families}
    everything = ClipSampler(pack, seed=seed).batch(range(20), **request)
    order = np.random.default_rng(seed).permutation(20)
    for sampler in (ClipSampler(pack, seed=seed, threads=2), reference_of(ClipSampler(pack, seed=seed))):
        got, some = sampler.batch(order, **request), sampler.batch(order[:3], **request)
        assert torch.equal(got.frames, everything.frames[order])
        assert torch.equal(some.keypoints, got.keypoints[:3])
        if sampler.threads == 2:
            assert torch.equal(got.keypoints, everything.keypoints[order])


@pytest.mark.parametrize("family", FAMILIES)
@given(count=st.integers(1, 3), seed=st.integers(0, 99), alpha=st.sampled_from([0.01, 0.3]))
def test_whole_clips_get_the_noise_of_their_samples(family, count, seed, alpha):
    clips = waving_clips(3).subset(range(count))
    noisy = noised_clips(clips, alpha, seed=seed, family=family)
    assert (noisy.num_frames < clips.num_frames).any() == (family in DROPS)
    assert np.array_equal(noisy.total_difference, clips.total_difference)
    side = int(clips.image_sizes[0].max())
    for i in range(count):
        options = {"clip_len": int(noisy.num_frames[i]), "size": (side, side), "crop": "frame"}
        sampled = ClipSampler(clips, train=False, seed=seed, **options).batch(
            [i], stream=3, alpha=alpha, families=(family,)
        )
        whole = ClipSampler(noisy, train=False, **options).batch([i])
        torch.testing.assert_close(whole.keypoints, sampled.keypoints, rtol=1e-6, atol=2e-3)


@pytest.mark.parametrize("alpha", [0.3, 1000.0])
@pytest.mark.parametrize("missing", [0.0, 1.0])
def test_results_are_finite(alpha, missing):
    pack = make_pack([(1, 1), (2, 1), (3, 30)], 6, missing=missing)
    for family in FAMILIES:
        for train in (True, False):
            sampler = ClipSampler(pack, clip_len=4, train=train)
            for maker in (sampler, reference_of(sampler)):
                batch = maker.batch([0, 1, 2], alpha=alpha, families=(family,))
                assert torch.isfinite(batch.keypoints).all()
                assert (batch.keypoints[batch.keypoints[..., 2] == 0] == 0).all()
                assert not missing or (batch.keypoints == 0).all()
                assert ((batch.frames >= 0) & (batch.frames < torch.tensor([[1], [1], [30]]))).all()


def test_families_are_known_by_name():
    assert check_families(["drift", "gaussian"]) == ("drift", "gaussian")
    assert check_families("swap") == ("swap",)
    assert list(FAMILY_MEANINGS) == list(FAMILIES)
    assert len(FAMILIES) == 13


@pytest.mark.parametrize(
    ("families", "message"),
    [
        (
            ("gaussian", "salt"),
            "no noise family 'salt'; there are: gaussian, laplace, uniform, student, drift",
        ),
        ((), "expected one noise family or more of: gaussian, laplace"),
        (("swap", "swap"), "noise family 'swap' is named twice"),
    ],
)
def test_wrong_families(families, message):
    sampler = ClipSampler(make_pack([(1, 9)]))
    with pytest.raises(ValueError, match=message):
        sampler.batch([0], alpha=0.1, families=families)
    with pytest.raises(ValueError, match=message):
        PoseDataset(sampler, families=families)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"family": "salt"}, "no noise family 'salt'"),
        ({"alpha": -1.0}, "alpha must be between 0 and 1000, got -1"),
    ],
)
def test_wrong_requests_for_whole_clips(named, message):
    with pytest.raises(ValueError, match=message):
        noised_clips(waving_clips(1), **{"alpha": 0.1, **named})


def test_a_data_set_passes_families_on():
    pack = make_pack([(1, 30), (2, 20)])
    sampler = ClipSampler(pack, train=False)
    data = PoseDataset(sampler, [1, 0], stream=3, alpha=0.2, families=("drop_block", "swap"))
    expected = sampler.batch([1], stream=3, alpha=0.2, families=("drop_block", "swap"))
    assert torch.equal(data[0].keypoints, expected.keypoints)
    assert torch.equal(data[0].frames, expected.frames)
