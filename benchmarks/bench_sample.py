"""Sampling with noise, crop and flip: fastpose against a NumPy pipeline of transforms, one process, one thread."""

from types import SimpleNamespace

import numpy as np
import peers_sample
import pytest
from measuring import measure

from fastpose.data.sampling.sample_prior import SamplePrior
from fastpose.data.sampling.sampler import ClipSampler
from fastpose.settings import SamplingConfig
from fastpose.settings.front_ends import with_front_end

NUM_CLIPS = 256
BATCH_SIZE = 32
CLIP_LEN = 24
ALPHA = 0.01
SECTION = "sample, noise, crop, flip"
SHAPES = {  # (persons, joints): what the shape stands for
    "kinect25": (1, 25),  # NTU RGB+D, one person
    "kinect25-two": (2, 25),
    "coco17": (1, 17),  # the published 2D poses
}


class Mirror:
    limbs = ()

    def __init__(self, num_joints: int) -> None:
        self.order = np.arange(num_joints)
        self.order[1:] = np.arange(1, num_joints).reshape(-1, 2)[:, ::-1].reshape(-1)

    def flip_index(self):
        return self.order


def make_pack(persons: int, num_joints: int) -> SimpleNamespace:
    """Walking blobs of 42 to 150 frames, 5 % of the joints missing."""
    rng = np.random.default_rng(0)
    num_frames = rng.integers(42, 150, NUM_CLIPS).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(persons * num_frames.astype(np.int64))])
    rows = int(offsets[-1])
    centres = rng.uniform(400, 900, (rows, 1, 2))
    missing = rng.random((rows, num_joints)) < 0.05
    keypoints = np.where(missing[..., None], 0, centres + rng.normal(0, 80, (rows, num_joints, 2)))
    return SimpleNamespace(
        keypoints=keypoints.astype(np.float32),
        scores=np.where(missing, 0, 1).astype(np.float32),
        offsets=offsets,
        num_persons=np.full(NUM_CLIPS, persons, np.int32),
        num_frames=num_frames,
        image_sizes=np.tile(np.array([1080, 1920], np.int32), (NUM_CLIPS, 1)),
        name_hashes=rng.integers(0, 2**64, NUM_CLIPS, dtype=np.uint64),
        total_difference=rng.uniform(1000, 20000, NUM_CLIPS),
        labels=np.zeros(NUM_CLIPS, np.int64),
        layout=Mirror(num_joints),
    )


@pytest.fixture(params=SHAPES, ids=str)
def pack(request):
    return make_pack(*SHAPES[request.param])


def smooth(pack: SimpleNamespace) -> SimpleNamespace:
    """Clips of the same shapes whose joints move together, in 8 ways with 8 frequencies, as a body's do."""
    rng = np.random.default_rng(0)
    num_joints = pack.scores.shape[1]
    rest, ways = rng.normal(700, 80, (num_joints, 2)), rng.normal(0, 20, (8, num_joints, 2))
    tracks = []
    for persons, frames in zip(pack.num_persons, pack.num_frames, strict=True):
        waves = np.cos(np.pi * np.arange(8) * (np.arange(frames)[:, None] + 0.5) / frames) / (
            1 + np.arange(8)
        )
        for _ in range(persons):
            tracks.append(rest + np.tensordot(waves @ rng.normal(0, 1, (8, 8)), ways, 1))
    return SimpleNamespace(**{**vars(pack), "keypoints": np.concatenate(tracks).astype(np.float32)})


def annotations(pack: SimpleNamespace) -> list[dict[str, object]]:
    clips = []
    for i in range(NUM_CLIPS):
        rows = slice(pack.offsets[i], pack.offsets[i + 1])
        shape = (pack.num_persons[i], pack.num_frames[i], pack.scores.shape[1])
        clips.append({
            "keypoint": pack.keypoints[rows].reshape(*shape, 2),
            "keypoint_score": pack.scores[rows].reshape(shape),
            "total_frames": int(pack.num_frames[i]),
            "img_shape": (1080, 1920),
            "coefficient": 1.0,
        })  # fmt: skip
    return clips


def case_of(pack: SimpleNamespace) -> str:
    persons = {1: "one person", 2: "two persons"}[pack.num_persons[0]]
    return f"{persons}, {pack.scores.shape[1]} joints"


def epoch_of(sampler: ClipSampler):
    """Return what draws all clips once."""
    batches = np.random.default_rng(1).permutation(NUM_CLIPS).reshape(-1, BATCH_SIZE)
    checked = sampler.batch(batches[0], alpha=ALPHA)
    assert checked.keypoints.isfinite().all()
    assert checked.keypoints.abs().sum() > 0

    def epoch() -> None:
        for indices in batches:
            sampler.batch(indices, epoch=1, stream=1, alpha=ALPHA)

    return epoch


@pytest.mark.parametrize("threads", [1, 2])
def test_fastpose(benchmark, pack, threads):
    epoch = epoch_of(ClipSampler(pack, clip_len=CLIP_LEN, threads=threads))
    case = case_of(pack)
    measure(benchmark, epoch, SECTION, case=case, row=f"{case} T{threads}", clips=NUM_CLIPS, seconds=0.3)


@pytest.mark.parametrize("front_end", ["means", "filter", "full"])
@pytest.mark.parametrize("pack", ["coco17"], indirect=True)
def test_fastpose_front_end(benchmark, pack, front_end):
    prior = SamplePrior.fit(smooth(pack), range(NUM_CLIPS), CLIP_LEN)
    settings = with_front_end(SamplingConfig(clip_len=CLIP_LEN), front_end)
    epoch = epoch_of(ClipSampler(pack, settings, threads=1, prior=prior))
    case = case_of(pack)
    row = f"{case}, front end {front_end} T1"
    measure(benchmark, epoch, SECTION, case=case, row=row, clips=NUM_CLIPS, seconds=0.3)


def test_numpy_pipeline(benchmark, pack):
    rng = np.random.default_rng(0)
    clips = annotations(pack)[:64]
    order = pack.layout.flip_index()
    assert np.isfinite(peers_sample.pipeline(clips[0], CLIP_LEN, order, ALPHA, rng)).all()

    def epoch() -> None:
        for begin in range(0, len(clips), BATCH_SIZE):
            batch = clips[begin : begin + BATCH_SIZE]
            np.stack([peers_sample.pipeline(clip, CLIP_LEN, order, ALPHA, rng) for clip in batch])

    case = case_of(pack)
    measure(
        benchmark, epoch, SECTION, who="peer", case=case, row=f"{case} T1", clips=len(clips), seconds=0.5,
        note="NumPy",
    )  # fmt: skip
