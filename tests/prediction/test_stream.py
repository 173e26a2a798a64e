"""Streams, frame by frame, against the predictor that is given the same frames as a clip."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.prediction import moving_clip, with_input, write_run

from fastpose.data.sources.linking import Detections, link
from fastpose.prediction import Predictor, Stream, predict

SIZE = (480, 640)
GIVEN = {"layout": "coco17", "image_size": SIZE}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("run"), config=with_input("heatmap"))
    return Predictor.load(run, precision="fp32")


def apart(persons, frames, seed=0):
    """People [M, T, V, 2] who drift through places of their own."""
    steps = np.arange(persons)[:, None, None, None] * np.array([700, 0])
    return moving_clip(seed, persons=persons, frames=frames) + steps.astype(np.float32)


def pushed(stream, keypoints, rng=None, **more):
    """Predictions by the number of frames after which they came; ``rng`` mixes persons of each frame."""
    found = {}
    for frame in range(keypoints.shape[1]):
        order = np.arange(len(keypoints)) if rng is None else rng.permutation(len(keypoints))
        of_frame = {name: value[order] for name, value in more.items()}
        if predictions := stream.push(keypoints[order, frame], **of_frame):
            found[frame + 1] = predictions
    return found


def assert_same(prediction, expected):
    assert prediction.labels.tolist() == expected.labels.tolist()
    assert prediction.names == expected.names
    np.testing.assert_allclose(prediction.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(prediction.features, expected.features, atol=1e-4)


def test_windows_are_those_of_a_long_clip(predictor):
    keypoints = apart(2, 47)
    found = pushed(Stream(predictor, window=20, stride=8, **GIVEN), keypoints, np.random.default_rng(0))
    assert list(found) == [20, 28, 36, 44]
    for end, (prediction,) in found.items():
        assert (prediction.first_frame, prediction.last_frame, prediction.person) == (end - 20, end - 1, None)
        assert prediction.name == f"frames {end - 20} to {end - 1}"
        assert_same(prediction, predict(keypoints[:, end - 20 : end], model=predictor, **GIVEN))


def test_each_person_keeps_a_number_through_windows(predictor):
    keypoints = apart(3, 30)
    found = pushed(
        Stream(predictor, window=10, stride=5, per_person=True, **GIVEN), keypoints, np.random.default_rng(1)
    )
    assert list(found) == [10, 15, 20, 25, 30]
    first = {one.person: one for one in found[10]}
    assert sorted(first) == [0, 1, 2]
    alone = [predict(person[None, :10], model=predictor, **GIVEN) for person in keypoints]
    whose = {
        number: int(np.argmin([np.abs(one.features - other.features).max() for other in alone]))
        for number, one in first.items()
    }
    assert sorted(whose.values()) == [0, 1, 2]
    for end, predictions in found.items():
        assert sorted(one.person for one in predictions) == [0, 1, 2]
        for one in predictions:
            frames = keypoints[whose[one.person], None, end - 10 : end]
            assert (one.first_frame, one.last_frame) == (end - 10, end - 1)
            assert_same(one, predict(frames, model=predictor, **GIVEN))


def test_who_comes_and_goes_is_labelled_in_their_frames(predictor):
    keypoints = apart(2, 20)
    stream = Stream(predictor, window=20, per_person=True, **GIVEN)
    predictions = []
    for frame in range(20):
        here = keypoints[:, frame] if 6 <= frame < 15 else keypoints[:1, frame] if frame >= 2 else None
        predictions += stream.push(here)
    by_person = {one.person: (one.first_frame, one.last_frame) for one in predictions}
    assert by_person == {0: (2, 19), 1: (6, 14)}
    for one in predictions:
        frames = keypoints[one.person, None, one.first_frame : one.last_frame + 1]
        assert_same(one, predict(frames, model=predictor, **GIVEN))


def test_ids_are_those_given(predictor):
    keypoints = apart(2, 12)
    stream = Stream(predictor, window=12, per_person=True, **GIVEN)
    rng = np.random.default_rng(2)
    (predictions,) = pushed(stream, keypoints, rng, ids=np.array([70, 4])).values()
    by_person = {one.person: one for one in predictions}
    assert sorted(by_person) == [4, 70]
    for number, person in ((70, 0), (4, 1)):
        assert_same(by_person[number], predict(keypoints[person], model=predictor, **GIVEN))


def test_frames_of_every_form(predictor):
    keypoints = apart(2, 8)
    scores = np.random.default_rng(5).uniform(0.2, 1, keypoints.shape[:3])
    (expected,) = predict([keypoints], [scores], model=predictor, **GIVEN)
    tracked = SimpleNamespace(id=torch.tensor([3.0, 5.0]))
    forms = (
        lambda k, s: (k, s),
        lambda k, s: {"keypoints": k, "scores": s, "ids": [3, 5]},
        lambda k, s: SimpleNamespace(xy=k, confidence=s),
        lambda k, s: SimpleNamespace(keypoints=SimpleNamespace(xy=k, conf=s), boxes=tracked),
    )
    for form in forms:
        stream = Stream(predictor, window=8, **GIVEN)
        predictions = [stream.push(form(keypoints[:, frame], scores[:, frame])) for frame in range(8)]
        assert_same(predictions[-1][0], expected)


def test_a_stream_is_linked_as_a_clip_is(predictor):
    keypoints = apart(2, 16)
    scores = np.random.default_rng(3).uniform(0.2, 1, keypoints.shape[:3])
    stream = Stream(predictor, window=16, min_score=0.4, **GIVEN)
    frames = []
    for frame in range(16):
        here = [frame % 2, 1 - frame % 2] if frame not in (5, 6) else [1]
        joints = np.concatenate([keypoints[here, frame], scores[here, frame, :, None]], axis=-1)
        result = stream.push(torch.tensor(joints) if frame % 3 else joints.tolist())
        kept = np.where(scores[here, frame] < 0.4, 0, scores[here, frame])
        frames.append(Detections(keypoints[here, frame], kept))
    linked = link(frames)
    assert_same(result[0], predict(linked.keypoints, linked.scores, model=predictor, **GIVEN))


def test_the_end_of_a_stream(predictor):
    keypoints = apart(1, 26)
    stream = Stream(predictor, window=10, stride=10, **GIVEN)
    assert stream.finish() == []
    assert list(pushed(stream, keypoints[:, :4])) == []
    (short,) = stream.finish()
    assert (short.first_frame, short.last_frame) == (0, 3)
    assert_same(short, predict(keypoints[:, :4], model=predictor, **GIVEN))
    assert list(pushed(stream, keypoints[:, 4:20])) == [6, 16]
    assert stream.finish() == []
    pushed(stream, keypoints[:, 20:])
    (last,) = stream.finish()
    assert (last.first_frame, last.last_frame) == (16, 25)
    assert_same(last, predict(keypoints[:, 16:], model=predictor, **GIVEN))


def test_nobody_is_nothing_to_say(predictor):
    stream = Stream(predictor, window=4, stride=2, **GIVEN)
    for nobody in (None, [], np.zeros((0, 17, 2)), np.full((2, 17, 2), np.nan)) * 3:
        assert stream.push(nobody) == []
    assert stream.num_frames == 12
    assert stream.finish() == []


def test_memory_is_bounded(predictor):
    stream = Stream(predictor, window=50, stride=50, **GIVEN)
    stream._predict = list  # what is held, without the model
    rng = np.random.default_rng(4)
    sizes = []
    tracemalloc.start()
    for frame in range(1500):
        places = rng.uniform(0, 5000, (4, 1, 2))  # new persons in every frame
        stream.push(places + rng.uniform(0, 200, (4, 17, 2)))
        if frame % 500 == 499:
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert stream._linker._num_persons > 4000
    assert len(stream._frames) == 50
    assert sizes[2] < 1.1 * sizes[0]


def test_frames_that_do_not_fit_are_left_out(predictor):
    keypoints = apart(1, 8)
    stream = Stream(predictor, window=4, stride=4, **GIVEN)
    stream.push(keypoints[:, 0])
    for given, message in (
        ({"frame": np.zeros((1, 13, 2))}, r"frame 1 of the stream: keypoints must be \[N, 17, 2\]"),
        ({"frame": np.zeros((1, 17, 4))}, r"frame 1 of the stream: keypoints must be \[N, V, 2\]"),
        ({"frame": [[1, 2], [3]]}, "frame 1 of the stream: keypoints is ragged"),
        ({"frame": ["a"]}, "keypoints must be an array of real numbers"),
        ({"frame": keypoints[:, 1], "scores": np.ones((2, 17))}, r"scores must be \[1, 17\]"),
        ({"frame": keypoints[:, 1], "ids": [0]}, "ids must be given for all frames, or for none"),
    ):
        with pytest.raises(ValueError, match=message):
            stream.push(**given)
    assert stream.num_frames == 1
    for frame in range(1, 3):
        stream.push(keypoints[:, frame])
    (prediction,) = stream.push(keypoints[:, 3])
    assert_same(prediction, predict(keypoints[:, :4], model=predictor, **GIVEN))
    tracked = Stream(predictor, window=4, **GIVEN)
    for ids in ([1, 1], [1], [-1, 2]):
        with pytest.raises(ValueError, match="ids must be"):
            tracked.push(apart(2, 1)[:, 0], ids=ids)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 0}, "window must be an integer from 1 to 900"),
        ({"window": 901}, "window must be an integer from 1 to 900"),
        ({"window": 10, "stride": 11}, "stride must be an integer from 1 to 10"),
        ({"image_size": 480}, "image_size must be two integers"),
        ({"layout": "h36m17"}, "the model takes layout 'coco17', but the joints are those of 'h36m17'"),
        ({"layout": "mpii"}, "no layout 'mpii'"),
        ({"top_k": 0}, "top_k must be an integer from 1"),
    ],
)
def test_settings_are_checked_at_once(predictor, changes, message):
    with pytest.raises(ValueError, match=message):
        Stream(predictor, **{**GIVEN, **changes})


def test_windows_by_default(predictor):
    stream = Stream(predictor, image_size=SIZE)
    assert (stream.window, stream.stride, stream.layout.name) == (300, 150, "coco17")
    with pytest.raises(ValueError, match="predictor must be a Predictor, got a str"):
        Stream("runs/penn", image_size=SIZE)
