"""The short name of a pack changes with whatever a run can learn from it."""

from dataclasses import replace

import numpy as np
import pytest
from support.clips import waving_clips

from fastpose.data.pack.fingerprint import fingerprint
from fastpose.data.pack.layouts import get_layout
from fastpose.data.pack.packed import PackedClips

PACKED = waving_clips(12)


def test_it_is_that_of_the_clips_and_not_of_their_file(tmp_path):
    PACKED.save(tmp_path / "clips.safetensors")
    assert fingerprint(PackedClips.load(tmp_path / "clips.safetensors")) == fingerprint(PACKED)


COCO = get_layout("coco17")
CHANGES = {
    "moved by a pixel": lambda: {"keypoints": PACKED.keypoints + np.float32(1)},
    "scores": lambda: {"scores": PACKED.scores * np.float32(0.5)},
    "labels": lambda: {"labels": PACKED.labels[::-1].copy()},
    "image sizes": lambda: {"image_sizes": 2 * PACKED.image_sizes},
    "class names": lambda: {"class_names": PACKED.class_names[::-1]},
    "sides": lambda: {"layout": replace(COCO, pairs=COCO.pairs[1:])},
    "splits": lambda: {"splits": {"train": np.arange(12)}},
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_changes(change):
    assert fingerprint(replace(PACKED, **CHANGES[change]())) != fingerprint(PACKED)


def test_persons_of_as_many_rows_are_told_apart():
    """Two persons in a frame, or one in two."""
    alone = PACKED.subset(np.array([0]))
    rows = len(alone.keypoints) // 2 * 2
    one, other = (
        replace(
            alone,
            keypoints=alone.keypoints[:rows],
            scores=alone.scores[:rows],
            offsets=np.array([0, rows]),
            num_persons=np.array([persons], np.int32),
            num_frames=np.array([rows // persons], np.int32),
        )
        for persons in (1, 2)
    )
    assert fingerprint(one) != fingerprint(other)
