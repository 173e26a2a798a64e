from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.packing import make_clip, pack, three_clips

from fastpose.prediction.windows import cut_windows, window_starts


@pytest.mark.parametrize(
    ("frames", "window", "stride", "starts"),
    [
        (10, 10, 5, [0]),
        (3, 10, 5, [0]),
        (11, 10, 5, [0, 1]),
        (20, 10, 5, [0, 5, 10]),
        (21, 10, 5, [0, 5, 10, 11]),
        (25, 10, 10, [0, 10, 15]),
        (3, 1, 1, [0, 1, 2]),
    ],
)
def test_starts_by_hand(frames, window, stride, starts):
    assert window_starts(frames, window, stride) == starts


@given(frames=st.integers(1, 60), window=st.integers(1, 20), data=st.data())
@settings(deadline=None, max_examples=60)
def test_windows_cover_the_clip(frames, window, data):
    stride = data.draw(st.integers(1, window))
    starts = window_starts(frames, window, stride)
    covered = {frame for start in starts for frame in range(start, min(start + window, frames))}
    assert covered == set(range(frames))
    assert starts == sorted(set(starts))
    assert all(b - a <= stride for a, b in pairwise(starts))
    assert starts[-1] == max(0, frames - window)


def test_windows_hold_the_frames_of_their_clip():
    clips = [make_clip(0, frames=7), make_clip(1, persons=1, frames=3), make_clip(2, persons=3, frames=5)]
    packed = pack(*clips)
    windows = cut_windows(packed, window=3, stride=2, longer_than=3)
    assert windows.offsets.tolist() == [0, 3, 4, 6]
    assert windows.first_frames.tolist() == [0, 2, 4, 0, 0, 2]
    assert windows.packed.names == [
        "clip0[0:3]", "clip0[2:5]", "clip0[4:7]", "clip1", "clip2[0:3]", "clip2[2:5]",
    ]  # fmt: skip
    for i, (clip, first) in enumerate(zip([0, 0, 0, 1, 2, 2], windows.first_frames, strict=True)):
        whole, part = packed.clip(clip), windows.packed.clip(i)
        assert np.array_equal(part.keypoints, whole.keypoints[:, first : first + 3])
        assert np.array_equal(part.scores, whole.scores[:, first : first + 3])
        assert part.image_size == whole.image_size
    assert windows.packed.name_hashes[3] == packed.name_hashes[1]  # a whole clip keeps its random numbers


def test_only_long_clips_are_cut():
    packed = three_clips()  # 5, 1 and 7 frames
    assert cut_windows(packed, window=2, stride=1, longer_than=7).packed is packed
    windows = cut_windows(packed, window=2, stride=2, longer_than=6)
    assert np.diff(windows.offsets).tolist() == [1, 1, 4]
    assert windows.packed.num_frames.tolist() == [5, 1, 2, 2, 2, 2]
