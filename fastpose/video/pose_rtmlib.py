"""rtmlib (RTMPose behind a YOLOX detector) as pose estimator: 17, 26 or 133 joints, by its weights."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastpose.data.pack.layouts import get_layout
from fastpose.data.sources.linking import Detections
from fastpose.video.packages import first_line, video_package

# By number of joints: rtmlib's class and the layout that it documents for it.
MODELS = {
    17: ("Body", "coco17"),
    26: ("BodyWithFeet", "halpe26"),
    133: ("Wholebody", "coco_wholebody133"),
}
SIMCC_SPLIT = 2  # bins of RTMPose's outputs per pixel of its input


class RtmlibPose:
    """RTMPose on the processor: every person that the detector finds in a frame, each frame for itself.

    Args:
        weights: detector and pose model (`.onnx`); none for rtmlib's own "balanced" body model, which it downloads.

    Raises:
        ValueError: rtmlib is missing, its weights cannot be downloaded, or the files are no such models.
    """

    def __init__(self, weights: Sequence[Path]) -> None:
        rtmlib = video_package("rtmlib")
        settings: dict[str, Any] = {}
        joints = 17
        if weights:
            detector, pose = map(_Weights, weights)
            joints = pose.num_joints()
            settings = {
                "det": str(detector.path),
                "det_input_size": detector.size,
                "pose": str(pose.path),
                "pose_input_size": pose.size[::-1],  # rtmlib has it as (width, height), the detector's not
            }
        kind, layout = MODELS[joints]
        self.layout = get_layout(layout)
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it loads
                model = getattr(rtmlib, kind)(**settings, backend="onnxruntime", device="cpu")
        except Exception as error:  # of the network, of a damaged archive or of onnxruntime
            said = first_line(error)
            what = (
                f"{weights[0]}, {weights[1]}: rtmlib cannot load them ({said})"
                if weights
                else f"rtmlib cannot get its weights ({said}); give --pose-weights DETECTOR.onnx,POSE.onnx"
            )
            raise ValueError(what) from error
        self._detector, self._pose = model.det_model, model.pose_model

    def start(self) -> None:
        """Do nothing: no frame depends on the one before."""

    def estimate(self, frame: np.ndarray, seconds: float) -> Detections:
        """Return the persons in a frame; without a detection there is none (rtmlib itself takes the whole frame)."""
        image = np.ascontiguousarray(frame[..., ::-1])  # rtmlib takes BGR
        joints = self.layout.num_joints
        try:
            boxes = np.asarray(self._detector(image), np.float32).reshape(-1, 4)
            if not len(boxes):
                return Detections(np.empty((0, joints, 2), np.float32), np.empty((0, joints), np.float32))
            keypoints, scores = self._pose(image, bboxes=boxes)
        except Exception as error:  # of onnxruntime or OpenCV
            raise ValueError(f"rtmlib failed at {seconds:.2f} s: {first_line(error)}") from error
        return Detections(np.asarray(keypoints, np.float32), np.asarray(scores, np.float32))

    def close(self) -> None:
        """Do nothing: the models go with the object."""


class _Weights:
    """An `.onnx` model of images: its input (height, width), and what it returns for an empty one.

    Raises:
        ValueError: it cannot be loaded, or takes no images of a fixed size.
    """

    def __init__(self, path: Path) -> None:
        onnxruntime = video_package("onnxruntime")
        try:
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # of onnxruntime's own kinds
            raise ValueError(
                f"{path}: not an .onnx model that onnxruntime can load: {first_line(error)}"
            ) from error
        (first, *_) = session.get_inputs()
        shape = first.shape
        if len(shape) != 4 or not all(isinstance(side, int) for side in shape[2:]):
            raise ValueError(f"{path}: expected a model of images [N, 3, H, W] of a fixed size, got {shape}")
        self.path, self._session, self._input = path, session, first.name
        self.size: tuple[int, int] = shape[2], shape[3]

    def num_joints(self) -> int:
        """Return the joints of RTMPose's model: it gives two outputs [1, V, bins], for x and y.

        Raises:
            ValueError: another model.
        """
        height, width = self.size
        empty = np.zeros((1, 3, height, width), np.float32)
        shapes = [np.shape(output) for output in self._session.run(None, {self._input: empty})]
        joints = shapes[0][1] if len(shapes[0]) > 1 else 0
        if shapes != [(1, joints, SIMCC_SPLIT * width), (1, joints, SIMCC_SPLIT * height)]:
            raise ValueError(f"{self.path}: not a pose model of RTMPose: its outputs are {shapes}")
        if joints not in MODELS:
            known = ", ".join(map(str, MODELS))
            raise ValueError(f"{self.path}: a pose model of {joints} joints; known are those of {known}")
        return joints
