"""All frames of clips with the noise that samplers give them, for what looks at whole clips."""

from dataclasses import replace

import numpy as np

from fastpose.data.pack.clip_builder import row_offsets
from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.presence import present_joints
from fastpose.data.sampling.batch import alpha_ranges
from fastpose.data.sampling.checks import checked_flips, limb_joints
from fastpose.data.sampling.corruption import ClipNoise
from fastpose.data.sampling.noise import noise_coefficients
from fastpose.data.sampling.philox import BatchRandom
from fastpose.settings.families import check_families


def noised_clips(
    packed: PackedClips, alpha: float, *, seed: int = 0, stream: int = 3, family: str = "gaussian"
) -> PackedClips:
    """Return the clips with noise of strength ``alpha``: that which a sampler outside training draws for the same seed.

    Families that leave frames out make the clips shorter. How much the clips move, which says how strong noise is,
    stays as it was.

    Raises:
        ValueError: ``alpha`` is out of range, or there is no such family.
    """
    (family,) = check_families((family,))
    alpha_ranges(alpha, 1)
    if alpha == 0:
        return packed
    sizes = packed.image_sizes.astype(np.float64)  # [n, 2], (h, w)
    strength = alpha * noise_coefficients(packed.total_difference, sizes)
    deviations = (strength[:, None] * sizes[:, ::-1]).astype(np.float32)  # x and y
    random = BatchRandom(seed, packed.name_hashes, 0, stream)
    present = present_joints(packed.keypoints, packed.scores)
    flips, limbs = checked_flips(packed), limb_joints(packed)
    noised = []
    for clip in range(packed.num_clips):
        rows = slice(packed.offsets[clip], packed.offsets[clip + 1])
        shape = (packed.num_persons[clip], packed.num_frames[clip], packed.layout.num_joints)
        noise = ClipNoise(family, alpha, deviations[clip], random.of(clip), flips, limbs)
        scores = np.where(present[rows], packed.scores[rows], np.float32(0)).reshape(shape)
        noised.append(noise.applied(packed.keypoints[rows].reshape(*shape, 2), scores))
    num_frames = np.array([len(clip.places) for clip in noised], np.int32)
    return replace(
        packed,
        keypoints=np.concatenate([clip.points.reshape(-1, *packed.keypoints.shape[1:]) for clip in noised]),
        scores=np.concatenate([clip.scores.reshape(-1, packed.scores.shape[1]) for clip in noised]),
        num_frames=num_frames,
        offsets=row_offsets(packed.num_persons, num_frames),
        path=None,
    )
