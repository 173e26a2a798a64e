"""The samples that ``ClipSampler`` makes outside training, of clean clips, in operators that exported programs have."""

import torch
from torch import Tensor

from fastpose.data.sampling.batch import PoseBatch
from fastpose.data.sampling.front_end import MotionFilter, SeenClips, part_edges, see_clips
from fastpose.data.sampling.reference import BOX_OF_SPREAD, LEAST_LEVEL, MOST_LEVEL
from fastpose.data.sampling.sample_prior import SamplePrior
from fastpose.ops.presence import present_joints
from fastpose.settings import SamplingConfig

MARKS = (0.0, -1.0)  # of a joint that was not found: x = y = one of them
LARGEST = torch.finfo(torch.float32).max


class TraceableSampler:
    """Samples one clip of any number of persons and frames, in float32.

    Args:
        settings: of the sample, with a number of persons.
        prior: what clean clips say of body motion, where ``settings.motion_filter`` asks for it.
    """

    def __init__(self, settings: SamplingConfig, prior: SamplePrior | None) -> None:
        assert settings.max_persons is not None
        self.settings, self.max_persons = settings, settings.max_persons
        self.filter = None
        if settings.motion_filter != "off" and prior is not None:
            tells_drift = settings.motion_filter == "colours"
            self.filter = MotionFilter(prior.arrays(settings.clip_len), tells_drift, torch.empty(0))

    def sample(self, keypoints: Tensor, image_size: Tensor) -> PoseBatch:
        """Return the sample of a clip, as a batch of one.

        Args:
            keypoints: float32 [M, L, V, 3]: x, y in pixels of the clip, and score. Missing joints are those of
                ``fastpose.ops.presence``, and those at (0, 0) or (−1, −1). Persons without any joint do not count; of
                the others, the first ``max_persons`` do.
            image_size: integers [2]: height and width in pixels.
        """
        clips = self._persons(keypoints)[None]
        begins, ends = self._parts(torch.full((1,), keypoints.shape[1], dtype=torch.int64))
        seen = None
        if self.settings.has_front_end:
            # Two absent frames more: a clip of one frame, without second differences, would be refused by .pt2 files.
            padded = torch.nn.functional.pad(clips, (0, 0, 0, 0, 0, 2))
            seen = see_clips(padded, begins, ends, self.filter)
        joints = clips[:, :, begins[0]] if seen is None else seen.keypoints  # [1, max_persons, T, V, 3]
        corner, side = self._square(*self._extent(joints, seen), image_size.double())
        points, scores = joints[..., :2], joints[..., 2:]
        height, width = self.settings.size
        scale = torch.cat([width / side, height / side])
        placed = torch.where(scores > 0, (points - corner.float()) * scale.float(), 0)
        levels = None
        if seen is not None:
            levels = (seen.noise.sqrt() / (side.float() / 2)).clamp(LEAST_LEVEL, MOST_LEVEL).log()
        return PoseBatch(
            keypoints=torch.cat([placed, scores], dim=-1),
            labels=torch.zeros(1, dtype=torch.int64),
            frames=((begins + ends - 1) // 2).to(torch.int32),
            indices=torch.zeros(1, dtype=torch.int64),
            presence=None if seen is None else seen.presence,
            noise_levels=levels,
        )

    def _persons(self, keypoints: Tensor) -> Tensor:
        """Return the persons that count [max_persons, L, V, 3], absent ones and missing joints all 0."""
        marked = torch.stack([(keypoints[..., :2] == mark).all(-1) for mark in MARKS]).any(0)
        present = present_joints(keypoints) & ~marked
        seen = present.flatten(1).any(1)  # [M]
        place = torch.arange(self.max_persons)[:, None]
        chosen = seen & (seen.cumsum(0) - 1 == place)  # [max_persons, M]
        joints = torch.where(present[..., None], keypoints, 0)
        return torch.einsum("pm,mlvc->plvc", chosen.to(joints.dtype), joints)

    def _parts(self, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frames [begin, end) [B, T] behind each sampled one, of clips of ``lengths`` frames [B]."""
        count, rule = self.settings.clip_len, self.settings.frame_rule
        if rule == "means":
            return part_edges(lengths, count, None, self.settings.window)
        length, place = lengths[:, None], torch.arange(count)
        if rule == "resample":
            frames = place * length // count
        else:
            frames = torch.where(length < count, place % length, (2 * place + 1) * length // (2 * count))
        return frames, frames + 1

    def _extent(self, joints: Tensor, seen: SeenClips | None) -> tuple[Tensor, Tensor]:
        """Return the centre [2] and the larger side [1] of the box of sampled joints [1, M, T, V, 3], in pixels.

        They are float64, as in native code: what is drawn of a joint ends between pixels, and a rounding can move it.
        """
        if self.settings.crop == "spread":
            assert seen is not None  # as this crop makes a front end
            return seen.center[0].double(), BOX_OF_SPREAD * seen.deviation.double()
        points, scores = joints.flatten(0, 3).split([2, 1], dim=-1)
        low = torch.where(scores > 0, points, LARGEST).amin(0).double()
        high = torch.where(scores > 0, points, -LARGEST).amax(0).double()
        return (low + high) / 2, (high - low).amax(0, keepdim=True)

    def _square(self, centre: Tensor, size: Tensor, image_size: Tensor) -> tuple[Tensor, Tensor]:
        """Return the top left corner [2] and the side [1] of the square to show, in pixels of the clip."""
        whole = image_size.amax(0, keepdim=True)
        if self.settings.crop == "frame":
            return torch.zeros(2, dtype=torch.float64), whole
        is_person = size >= self.settings.min_box
        side = torch.where(is_person, self.settings.crop_padding * size, whole)
        return torch.where(is_person, centre, image_size.flip(0) / 2) - side / 2, side
