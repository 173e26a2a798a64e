"""rtmlib's own code on models that find the same persons in every frame."""

import urllib.error

import numpy as np
import pytest
from support.videos import need

from fastpose.data.sources.linking import Detections
from fastpose.video.estimators import open_estimator, weight_files

POSE_SIZE = (64, 48)  # (h, w)


@pytest.fixture(autouse=True)
def _packages():
    need("rtmlib", "onnx")


def write_model(path, input_size, **outputs):
    """Write a model of images [1, 3, H, W] that returns the same arrays for each."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node(
            "Constant", [], [name], value=numpy_helper.from_array(value.astype(np.float32), name)
        )
        for name, value in outputs.items()
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *input_size])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)
            for name, value in outputs.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


def write_detector(path, *boxes):
    """Boxes (x0, y0, x1, y1, score) in pixels of an image of 128 × 128."""
    return write_model(path, (128, 128), dets=np.array([boxes]).reshape(1, -1, 5))


def write_pose(path, joints):
    """Each joint in the middle of its box; RTMPose has two bins a pixel."""
    height, width = POSE_SIZE
    x, y = np.zeros((1, joints, 2 * width)), np.zeros((1, joints, 2 * height))
    x[..., width], y[..., height] = 0.7, 0.6
    return write_model(path, POSE_SIZE, simcc_x=x, simcc_y=y)


@pytest.mark.parametrize(("joints", "layout"), [(17, "coco17"), (26, "halpe26"), (133, "coco_wholebody133")])
def test_persons_in_the_pixels_of_the_frame(tmp_path, joints, layout, capfd):
    detector = write_detector(tmp_path / "det.onnx", (10, 20, 50, 100, 0.9), (60, 0, 120, 60, 0.8))
    weights = f"{detector},{write_pose(tmp_path / 'pose.onnx', joints)}"
    estimator = open_estimator("rtmlib", weights, 2)
    assert estimator.layout.name == layout
    frame = np.zeros((256, 192, 3), np.uint8)  # twice as high as the detector's image
    found = estimator.estimate(frame, 0.0)
    assert isinstance(found, Detections)
    assert found.keypoints.shape == (2, joints, 2)
    expected = np.array([[60, 120], [180, 60]])  # middles of the boxes, doubled
    np.testing.assert_allclose(
        found.keypoints, np.broadcast_to(expected[:, None], found.keypoints.shape), atol=1
    )
    assert found.scores is not None
    assert ((found.scores > 0.5) & (found.scores < 0.8)).all()
    assert capfd.readouterr().out == ""


def test_a_frame_without_a_person(tmp_path):
    """rtmlib takes the whole frame for a person then."""
    detector = write_detector(tmp_path / "det.onnx", (10, 20, 50, 100, 0.1))
    estimator = open_estimator("rtmlib", f"{detector},{write_pose(tmp_path / 'pose.onnx', 17)}", 2)
    found = estimator.estimate(np.zeros((100, 100, 3), np.uint8), 0.0)
    assert found.keypoints.shape == (0, 17, 2)


def test_weights_that_do_not_fit(tmp_path):
    detector = write_detector(tmp_path / "det.onnx", (10, 20, 50, 100, 0.9))
    pose = write_pose(tmp_path / "pose.onnx", 17)
    (tmp_path / "text.onnx").write_text("no model")
    for weights, said in [
        (str(pose), "rtmlib needs --pose-weights DETECTOR.onnx,POSE.onnx, got"),
        (f"{detector},{tmp_path}/none.onnx", "none.onnx: no such file of pose weights"),
        (f"{detector},{tmp_path}/text.onnx", "text.onnx: not an .onnx model that onnxruntime can load"),
        (f"{pose},{detector}", "det.onnx: not a pose model of RTMPose: its outputs are"),
        (
            f"{detector},{write_pose(tmp_path / 'pose9.onnx', 9)}",
            "a pose model of 9 joints; known are those of 17, 26, 133",
        ),
    ]:
        with pytest.raises(ValueError) as error:
            open_estimator("rtmlib", weights, 2)
        assert said in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="no pose estimator 'openpose'; there are mediapipe, rtmlib"):
        weight_files("openpose", None)  # pyright: ignore[reportArgumentType]


def test_weights_that_cannot_be_downloaded(monkeypatch):
    def offline(url):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("rtmlib.tools.base.download_checkpoint", offline)
    with pytest.raises(
        ValueError, match=r"rtmlib cannot get its weights \(.*no network.*\); give --pose-weights"
    ):
        open_estimator("rtmlib", None, 2)
