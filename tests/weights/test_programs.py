"""Programs that start from keypoints: what they say of a clip is what ``predict`` says, without torch or fastpose."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from support.prediction import CLASSES, moving_clip, random_weights
from support.shared import shared_folder

from fastpose import export
from fastpose.data import LAYOUTS, PackedClips
from fastpose.data.sampling.sample_prior import SamplePrior
from fastpose.data.sources.penn_action import pack_penn_action
from fastpose.prediction import Predictor
from fastpose.prediction.persons import limit_persons
from fastpose.settings import DataConfig, ModelConfig, RunConfig, SamplingConfig
from fastpose.settings.front_ends import FILTER
from fastpose.weights.card import ModelCard, build_model
from fastpose.weights.exporting import FORMATS, export_model
from fastpose.weights.runs import WEIGHTS, write_weights

PENN = LAYOUTS["penn13"]
CLIP_LEN = 12
IMAGE_SIZE = (480, 640)
DOCS = Path(__file__).resolve().parents[2] / "docs/your-own-data.md"
ALL = os.environ.get("FASTPOSE_FULL") == "1"
FILTERED = {**FILTER, "crop": "spread"}
# On request all inputs and settings, else the one with most in it: tracing takes seconds for each.
FULL = [
    ("dct_mlp", "skeleton", {}, {}),
    ("posec3d", "skeleton", {"evidence": True, "frame_rule": "means"}, {}),
    ("posec3d", "skeleton", FILTERED, {"score_channel": True}),
    ("x3d_shallow", "heatmap", {"frame_rule": "resample"}, {}),
    ("x3d_shallow", "grayscale", {"crop": "frame"}, {}),
    ("c3d_light", "limb", {"motion_filter": "white"}, {}),
    ("motionbert_lite", "skeleton", {}, {"joints": "own"}),
]


def make(name, input, sampling, options):
    """A model of random weights for 13 joints of at most two persons, and its card."""
    torch.manual_seed(0)
    clips = PackedClips.from_clips([labelled(i, (1, 20 + 3 * i)) for i in range(12)], layout=PENN)
    settings = SamplingConfig(clip_len=CLIP_LEN, size=(32, 32), **sampling)
    prior = SamplePrior.fit(clips, range(12), CLIP_LEN) if settings.motion_filter != "off" else None
    config = RunConfig(
        data=DataConfig(sampling=settings), model=ModelConfig(model=name, input=input, **options)
    )
    card = ModelCard(config, PENN, CLASSES, 2, prior)
    return random_weights(build_model(card), card), card


def labelled(seed, shape):
    return {"keypoints": moving_clip(seed, *shape, joints=13), "label": 0, "image_size": IMAGE_SIZE}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model, card = make("dct_mlp", "skeleton", FILTERED, {})
    write_weights(folder / WEIGHTS, model.state_dict(), card)
    arguments = [str(folder), "--from", "keypoints", "--out", str(folder / "penn.onnx")]
    assert export.main(arguments) == 0
    return folder, card


def odd_clips():
    """Keypoints [M, L, 13, 3]: of one frame, short, long, with missing joints, of few and of too many persons."""
    random = np.random.default_rng(3)
    for i, (persons, frames) in enumerate([(1, 1), (1, 2), (2, 7), (1, 12), (3, 13), (2, 90), (1, 900)]):
        scores = random.uniform(0.2, 1, (persons, frames, 13, 1)) * (
            random.random((persons, frames, 13, 1)) > 0.2
        )
        clip = np.concatenate([moving_clip(i, persons, frames, 13), scores], axis=-1).astype(np.float32)
        yield clip
        if persons > 1:
            clip = clip.copy()
            clip[-1, ..., 2] = 0  # absent
            yield clip


def run_onnx(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda clip, size: session.run(None, {"keypoints": clip, "image_size": np.array(size)})


def run_torch(path):
    program = torch.export.load(path).module()

    def run(clip, size):
        output = program(torch.from_numpy(clip), torch.tensor(size))
        return output["logits"].numpy(), output["features"].numpy()

    return run


def assert_equal_to_predict(run, predictor, packed):
    """Compare the softmax of each clip's logits, and its features, of the persons whom ``predict`` sees."""
    packed = limit_persons(packed, predictor.card.max_persons)
    for i, prediction in enumerate(predictor.predict(packed, top_k=len(CLASSES))):
        clip = packed.clip(i)
        keypoints = np.concatenate([clip.keypoints, clip.scores[..., None]], axis=-1)
        logits, features = run(keypoints, clip.image_size)
        assert logits.shape == (len(CLASSES),)
        scores = np.exp(logits - logits.max())
        np.testing.assert_allclose((scores / scores.sum())[prediction.labels], prediction.scores, atol=1e-4)
        np.testing.assert_allclose(features, prediction.features, rtol=1e-3, atol=1e-4)


def pack_odd_clips():
    clips = [
        {"keypoints": clip[..., :2], "scores": clip[..., 2], "label": 0, "image_size": IMAGE_SIZE}
        for clip in odd_clips()
    ]
    return PackedClips.from_clips(clips, layout=PENN)


def test_odd_clips_are_classified_as_by_predict(exported):
    folder, _ = exported
    predictor = Predictor.load(folder, device="cpu", precision="fp32")
    assert_equal_to_predict(run_onnx(folder / "penn.onnx"), predictor, pack_odd_clips())


def test_real_clips_are_classified_as_by_predict(exported, tmp_path):
    folder, _ = exported
    labels = shared_folder() / "penn_action/labels"
    for number in ("0001", "0700", "1400", "2100", "2326"):
        (tmp_path / f"{number}.mat").symlink_to(labels / f"{number}.mat")
    packed, _ = pack_penn_action(tmp_path)
    assert packed.num_clips == 5
    predictor = Predictor.load(folder, device="cpu", precision="fp32")
    assert_equal_to_predict(run_onnx(folder / "penn.onnx"), predictor, packed)


def test_the_file_says_what_it_takes(exported):
    folder, card = exported
    session = onnxruntime.InferenceSession(folder / "penn.onnx")
    shapes = {value.name: (value.type, value.shape) for value in session.get_inputs()}
    assert shapes == {
        "keypoints": ("tensor(float)", ["persons", "frames", 13, 3]),
        "image_size": ("tensor(int64)", [2]),
    }
    assert {value.name: value.shape for value in session.get_outputs()} == {"logits": [4], "features": [256]}
    says = session.get_modelmeta().custom_metadata_map
    assert card.to_metadata().items() <= says.items()
    assert json.loads(says["inputs"]).keys() == shapes.keys()
    assert json.loads(says["joints"]) == list(PENN.joints)
    assert says["clip_len"] == str(CLIP_LEN)


def test_the_lines_of_the_docs_run_without_torch(exported, tmp_path):
    """The code of docs/your-own-data.md, as it stands there."""
    folder, _ = exported
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S)
        if "onnxruntime" in block
    ]
    assert len(code.strip().splitlines()) <= 20
    (tmp_path / "penn.onnx").symlink_to(folder / "penn.onnx")
    clip = moving_clip(5, frames=40, joints=13)
    scores = np.ones(clip.shape[:3], np.float32)
    np.savez(tmp_path / "clip.npz", keypoints=clip, scores=scores, image_size=IMAGE_SIZE)
    code += "import sys\nassert not {'torch', 'fastpose'} & set(sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    predictor = Predictor.load(folder, device="cpu", precision="fp32")
    packed = PackedClips.from_clips([{"keypoints": clip, "label": 0, "image_size": IMAGE_SIZE}], layout=PENN)
    (prediction,) = predictor.predict(packed, top_k=3)
    assert done.stdout.splitlines() == [
        f"{100 * score:5.1f} % {name}"
        for name, score in zip(prediction.names, prediction.scores, strict=True)
    ]


@torch.no_grad()
@pytest.mark.skipif(not ALL, reason="long: every input and setting; FASTPOSE_FULL=1 runs it")
@pytest.mark.parametrize("format", ["onnx", "torch"])
@pytest.mark.parametrize("case", FULL, ids=lambda case: f"{case[0]}-{case[1]}")
def test_every_input_is_classified_as_by_predict(tmp_path, case, format):
    model, card = make(*case)
    path = tmp_path / f"program{FORMATS[format]}"
    export_model(model, card, path, format, "keypoints")
    run = run_onnx(path) if format == "onnx" else run_torch(path)
    assert_equal_to_predict(run, Predictor(model, card, device="cpu", precision="fp32"), pack_odd_clips())


@pytest.mark.parametrize(
    ("changes", "format", "message"),
    [
        ({"denoise": "sure"}, "onnx", "the model stands behind a denoiser, .* expected --denoise off"),
        (
            {},
            "safetensors",
            "safetensors holds weights, and no program from keypoints; expected onnx or torch",
        ),
    ],
)
def test_what_a_program_cannot_hold_is_refused(tmp_path, changes, format, message):
    model, card = make("dct_mlp", "skeleton", {}, {})
    with pytest.raises(ValueError, match=message):
        export_model(model, replace(card, **changes), tmp_path / "program", format, "keypoints")
    assert list(tmp_path.iterdir()) == []


def test_the_published_form_of_motionbert_is_refused(tmp_path):
    model, card = make("dct_mlp", "skeleton", {}, {})
    sampling = SamplingConfig(clip_len=CLIP_LEN, frame_rule="resample", crop="frame")
    published = ModelConfig(model="motionbert", input="skeleton", published=True)
    config = replace(card.config, data=DataConfig(sampling=sampling), model=published)
    with pytest.raises(ValueError, match="published form matches persons .* expected --from input"):
        export_model(model, replace(card, config=config), tmp_path / "program", "onnx", "keypoints")
