from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.clips import waving_clips

from fastpose.data import LAYOUTS, PackedClips, PoseClip
from fastpose.data.pack.duplicates import equal_clips


def pack_of(drawn):
    """A pack of clips of one coco17 person, each as (frames, value of all numbers, score of all joints)."""
    clips = [
        PoseClip(
            name=f"clip{i}",
            keypoints=np.full((1, frames, 17, 2), value, np.float32),
            scores=np.full((1, frames, 17), score or 1, np.float32),
            label=i % 2,
            image_size=(100 + i, 200),
        )
        for i, (frames, value, score) in enumerate(drawn)
    ]
    packed = PackedClips.from_clips(clips, layout=LAYOUTS["coco17"])
    kept = np.repeat([score > 0 for _, _, score in drawn], np.diff(packed.offsets))
    return replace(packed, scores=packed.scores * kept[:, None].astype(np.float32))


@given(
    drawn=st.lists(
        st.tuples(st.integers(1, 2), st.sampled_from([70.0, 80.0]), st.sampled_from([0.0, 0.5, 1.0])),
        min_size=1,
        max_size=12,
    ),
    data=st.data(),
)
def test_equal_clips_are_those_of_equal_content(drawn, data):
    packed = pack_of(drawn)
    members = st.lists(st.sampled_from(range(len(drawn))), unique=True)
    train, test = (np.array(data.draw(members), np.int64) for _ in range(2))
    expected = []
    for clip in test.tolist():
        same = [other for other in train.tolist() if drawn[other] == drawn[clip]]
        if same and drawn[clip][2] > 0:
            expected.append((clip, same[0]))
    assert equal_clips(packed, train, test) == expected


def test_one_bit_or_one_person_more_is_another_clip():
    packed = waving_clips(3)
    clip = packed.clip(0)
    nudged = clip.keypoints.copy()
    nudged[0, 3, 16, 0] = np.nextafter(nudged[0, 3, 16, 0], np.float32(np.inf))
    lowered = clip.scores.copy()
    lowered[0, 0, 0] = 0.5
    frames = clip.keypoints.shape[1] // 2 * 2
    even = clip.keypoints[:, :frames], clip.scores[:, :frames]
    halves = [array.reshape(2, frames // 2, *array.shape[2:]) for array in even]
    variants = [(clip.keypoints, clip.scores), (nudged, clip.scores), (clip.keypoints, lowered), even, halves]
    variants.append((clip.keypoints, clip.scores))
    packed = PackedClips.from_clips(
        [
            PoseClip(name=str(i), keypoints=k, scores=s, label=i % 2, image_size=(9 + i, 9))
            for i, (k, s) in enumerate(variants)
        ],
        layout=LAYOUTS["coco17"],
    )
    assert equal_clips(packed, np.arange(5), np.array([5])) == [(5, 0)]
    assert equal_clips(packed, np.arange(1, 5), np.array([5, 0])) == []
