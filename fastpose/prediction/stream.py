"""Keypoints classified as they come, frame by frame, window by window."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpose.data.pack.clip_check import check_clip
from fastpose.data.pack.layouts import Layout, get_layout
from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.persons import MAX_PAUSE, Poses
from fastpose.data.pack.presence import present_joints
from fastpose.data.sampling.checks import checked_integer
from fastpose.data.sources.frame_lists import parts_of_frame
from fastpose.data.sources.linking import Linker, clean_detections, lay_out
from fastpose.data.sources.unlabelled import pack_unlabelled
from fastpose.prediction.predictor import MOST_FRAMES, WINDOW, Prediction, Predictor, fit_layout


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """The persons of a frame: keypoints float32 [N, V, 2], scores [N, V], who they are, int64 [N]."""

    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    persons: NDArray[np.int64]


class Stream:
    """A live source of keypoints: push each frame, and get a prediction for each window of frames.

    Windows follow each other as those of a long clip do: the first ends with frame ``window``, the next ones
    ``stride`` frames later each. A window is classified as ``Predictor.predict`` classifies its frames as a clip.
    Persons are followed from frame to frame (``fastpose.data.sources.linking.Linker``), or by the ids given. What is
    held is one window of frames, however long the stream. Frames of a window before anyone is seen, and after that, are
    no part of its clip.

    Args:
        predictor: the model.
        layout: what the V joints are: a built-in name, a JSON file, or a ``Layout``; by default the model's.
        image_size: (h, w) of the video in pixels.
        window: frames of a prediction; by default the predictor's, 300.
        stride: frames from one prediction to the next, 1 to ``window``; by default half a window.
        per_person: predict each person of a window alone.
        min_score: joints with a smaller score are missing.
        max_pause: frames that a person may be unseen, and still be the same; of use without ids.
        top_k: classes of a prediction.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        image_size: tuple[int, int],
        layout: str | Path | Layout | None = None,
        window: int | None = None,
        stride: int | None = None,
        per_person: bool = False,
        min_score: float = 0.0,
        max_pause: int = MAX_PAUSE,
        top_k: int = 5,
    ) -> None:
        if not isinstance(predictor, Predictor):
            raise ValueError(f"predictor must be a Predictor, got a {type(predictor).__name__}")
        self.predictor = predictor
        self.layout = predictor.card.layout if layout is None else get_layout(layout)
        self.image_size = image_size
        # Longer clips are cut into windows by the predictor itself.
        longest = predictor.longer_than
        default = min(predictor.window, WINDOW)
        self.window = checked_integer("window", default if window is None else window, 1, longest)
        self.stride = checked_integer(
            "stride", max(1, self.window // 2) if stride is None else stride, 1, self.window
        )
        self.per_person = per_person
        self.min_score = min_score
        self.top_k = checked_integer("top_k", top_k, 1, MOST_FRAMES)
        self.num_frames = 0  # pushed so far
        self._frames: deque[_Frame] = deque(maxlen=self.window)
        self._linker = Linker(checked_integer("max_pause", max_pause, 0, MOST_FRAMES))
        self._with_ids: bool | None = None  # unknown until someone is seen
        self._due = self.window  # the frames after which the next window ends
        # Whatever is wrong with layout and image size is told now, and not after a window of frames.
        fit_layout(
            self._packed(np.full((1, 1, self.layout.num_joints, 2), 100.0), None, "stream"),
            predictor.card.layout,
            convert=predictor.convert,
        )

    def push(self, frame: Any, scores: Any = None, ids: Sequence[int] | None = None) -> list[Prediction]:
        """Take the next frame; return what is to be said now, most often nothing.

        Args:
            frame: [N, V, 2] of N persons in pixels, or [V, 2] of one; with three numbers a joint, and no ``scores``,
                the third is the score. NumPy, torch or nested lists; None or [] where nobody is seen. Or whatever
                else ``PoseClip.from_frames`` takes for a frame.
            scores: [N, V] or [V].
            ids: N distinct numbers from 0, from a tracker: in all frames or in none.

        Returns:
            When a window is full: its prediction, or one for each person (``Prediction.person``, the id or a number in
            order of appearance, the same in all windows). None of them where nobody was seen. ``first_frame`` and
            ``last_frame`` count frames of the stream from 0.

        Raises:
            ValueError: the frame does not fit, and is left out; or the window cannot be classified, as ``predict``
                says.
        """
        try:
            held = self._read(frame if scores is None and ids is None else _joined(frame, scores, ids))
        except ValueError as error:
            raise ValueError(f"frame {self.num_frames} of the stream: {error}") from error
        self._frames.append(held)
        self.num_frames += 1
        if self.num_frames < self._due:
            return []
        self._due += self.stride
        return self._predict()

    def finish(self) -> list[Prediction]:
        """Return the prediction of the last window, or of all frames if there are fewer; nothing if it was made.

        Nothing is forgotten: a stream may go on.
        """
        predicted = self._due - self.stride if self._due > self.window else 0
        return self._predict() if self.num_frames > predicted else []

    def _read(self, frame: Any) -> _Frame:
        points, weights, ids = parts_of_frame(frame)
        num_joints = self.layout.num_joints
        if not len(points):
            points, weights, ids = np.zeros((0, num_joints, 2)), np.zeros((0, num_joints)), None
        elif points.shape[1] != num_joints:
            raise ValueError(
                f"keypoints must be [N, {num_joints}, 2] for layout {self.layout.name!r}, got {list(points.shape)}"
            )
        points, weights = clean_detections(points, weights)
        weights[weights < self.min_score] = 0
        if len(points) and self._with_ids not in (None, ids is not None):
            raise ValueError("ids must be given for all frames, or for none")
        if ids is None:
            persons = self._linker.step(Poses.of(points, weights), weights.sum(axis=1))
        elif min(ids) < 0 or len(set(ids)) < len(ids):
            raise ValueError(f"ids must be distinct numbers from 0, got {ids}")
        else:
            persons = np.array(ids, np.int64)
        if len(points):
            self._with_ids = ids is not None
        return _Frame(points, weights, persons)

    def _predict(self) -> list[Prediction]:
        counts = [len(frame.persons) for frame in self._frames]
        if not sum(counts):
            return []
        linked = lay_out(
            np.concatenate([frame.keypoints for frame in self._frames]),
            np.concatenate([frame.scores for frame in self._frames]),
            np.repeat(np.arange(len(counts)), counts),
            np.concatenate([frame.persons for frame in self._frames]),
            len(counts),
            share=not (self.per_person or self._with_ids),  # as ``link`` does
        )
        present = np.any(present_joints(linked.keypoints, linked.scores), axis=2)  # [M, T]
        seen = np.flatnonzero(np.any(present, axis=0))
        if not len(seen):
            return []
        everyone, frames = np.any(present, axis=1), slice(seen[0], seen[-1] + 1)
        ids = linked.ids[everyone]
        start, last = self.num_frames - len(counts), self.num_frames - 1
        packed = self._packed(
            linked.keypoints[everyone, frames], linked.scores[everyone, frames], f"frames {start} to {last}"
        )
        predictions = self.predictor.predict(packed, self.top_k, per_person=self.per_person)
        if not self.per_person:
            return [replace(predictions[0], first_frame=start, last_frame=last)]
        start += int(seen[0])
        return [
            replace(
                prediction,
                first_frame=start + prediction.first_frame,
                last_frame=start + prediction.last_frame,
                person=person,
            )
            for prediction, person in zip(predictions, ids.tolist(), strict=True)
        ]

    def _packed(self, keypoints: NDArray[Any], scores: NDArray[Any] | None, name: str) -> PackedClips:
        """Return a clip [M, T, V, 2] as a pack."""
        fields = {"name": name, "keypoints": keypoints, "scores": scores, "image_size": self.image_size}
        clip = check_clip(fields, self.layout, name, labelled=False, persons_first=True)
        return pack_unlabelled([clip], self.layout, "stream")


def _joined(keypoints: Any, scores: Any, ids: Any) -> dict[str, Any]:
    """Return a frame whose parts are given one by one as ``parts_of_frame`` takes it."""
    return {"keypoints": [] if keypoints is None else keypoints, "scores": scores, "ids": ids}
