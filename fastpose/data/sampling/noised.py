"""All frames of clips with the noise that samplers give them, for what looks at whole clips."""

from dataclasses import replace

import numpy as np

from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.presence import present_joints
from fastpose.data.sampling.noise import noise_coefficients
from fastpose.data.sampling.reference import BatchRandom, normals


def noised_clips(packed: PackedClips, alpha: float, *, seed: int = 0, stream: int = 3) -> PackedClips:
    """Return the clips with noise of strength ``alpha``: that which a sampler outside training draws for the same seed.

    How much the clips move, which says how strong noise is, stays as it was.
    """
    if alpha == 0:
        return packed
    sizes = packed.image_sizes.astype(np.float64)  # [n, 2], (h, w)
    strength = alpha * noise_coefficients(packed.total_difference, sizes)
    deviations = (strength[:, None] * sizes[:, ::-1]).astype(np.float32)  # x and y
    keypoints = packed.keypoints.copy()
    for clip in range(packed.num_clips):
        persons, frames = int(packed.num_persons[clip]), np.arange(int(packed.num_frames[clip]))[None]
        random = BatchRandom(seed, packed.name_hashes[clip : clip + 1], 0, stream)
        noise = deviations[clip] * normals(random, frames, persons, keypoints.shape[1])
        keypoints[packed.offsets[clip] : packed.offsets[clip + 1]] += noise.reshape(-1, *keypoints.shape[1:])
    present = present_joints(packed.keypoints, packed.scores)
    return replace(packed, keypoints=np.where(present[..., None], keypoints, packed.keypoints), path=None)
