"""Exported models compute what the models do, at sizes that were not traced, and say what they are."""

import importlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from support.prediction import moving_clip

from fastpose import export
from fastpose.data import LAYOUTS, Denoiser, PackedClips
from fastpose.models import MotionBERT, PoseConv3D, create_model
from fastpose.settings import ModelConfig, RunConfig
from fastpose.weights.card import ModelCard
from fastpose.weights.exporting import FORMATS, check, export_model, format_of, trace
from fastpose.weights.programs import InputProgram
from fastpose.weights.runs import WEIGHTS, load_model, write_weights

SMALL_MOTIONBERT = {"dim_feat": 16, "dim_rep": 24, "depth": 1, "num_heads": 4, "maxlen": 12, "hidden_dim": 32}
# On request every model with every input, else small ones: tracing takes seconds for each.
FULL = [
    *((name, input, {}) for name in ("posec3d", "posec3d_k400", "c3d_light", "x3d_shallow")
      for input in ("heatmap", "grayscale", "limb", "skeleton")),
    ("dct_mlp", "skeleton", {}),
    ("motionbert", "skeleton", {}),
    ("motionbert_lite", "skeleton", {}),
]  # fmt: skip
FEW = [
    ("c3d_light", "heatmap", {}),
    ("small_posec3d", "skeleton", {"max_persons": 1}),
    ("dct_mlp", "skeleton", {"max_persons": 1}),
    ("motionbert", "skeleton", SMALL_MOTIONBERT),
]
ALL = os.environ.get("FASTPOSE_FULL") == "1"


class SmallPoseConv3D(PoseConv3D):
    blocks = (1, 1, 1)


def make(name="c3d_light", input="heatmap", **options):
    """A model of two classes with the statistics of training, and its description."""
    torch.manual_seed(0)
    options = {"input": input, "num_classes": 2, "layout": "coco17", **options}
    model = SmallPoseConv3D(**options) if name == "small_posec3d" else create_model(name, **options)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            if module.affine:
                torch.nn.init.uniform_(module.weight, 0.5, 1)
    config = RunConfig(model=ModelConfig(model=name, input=input))
    return model, ModelCard(config, LAYOUTS["coco17"], ("walk", "run"), 2)


def inputs_of(model):
    """Random inputs of sizes that the export neither traced nor checked."""
    if isinstance(model, MotionBERT):
        return torch.randn(5, 3, 7, 17, 3), torch.randn(1, 2, 12, 17, 3)
    channels = model.in_channels
    if model.pose_input.input == "skeleton":
        return torch.randn(5, channels, 7, 1, 1), torch.randn(1, channels, 48, 1, 1)
    return torch.randn(4, channels, 2, 16, 25), torch.randn(1, channels, 9, 24, 24)


def exported(case, folder, format):
    name, input, options = case
    model, card = make(name, input, **options)
    target = folder / f"model{FORMATS[format]}"
    export_model(model, card, target, format)
    assert list(folder.iterdir()) == [target]
    return model, card, target


def case_id(case):
    return f"{case[0]}-{case[1]}"


@torch.no_grad()
@pytest.mark.parametrize("case", FULL if ALL else FEW, ids=case_id)
def test_onnx_agrees_with_the_model(tmp_path, case):
    model, card, path = exported(case, tmp_path, "onnx")
    session = onnxruntime.InferenceSession(path)
    assert [value.name for value in session.get_inputs()] == ["input"]
    assert [value.name for value in session.get_outputs()] == ["logits", "features"]
    for axis, name in model.pose_input.axes.items():
        assert session.get_inputs()[0].shape[axis] == name
    for x in inputs_of(model):
        expected = model(x)
        logits, features = session.run(None, {"input": x.numpy()})
        np.testing.assert_allclose(logits, expected.logits, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(features, expected.features, rtol=1e-4, atol=1e-4)
    assert session.get_modelmeta().custom_metadata_map == card.to_metadata()


@torch.no_grad()
@pytest.mark.parametrize("case", FULL if ALL else FEW[1:3], ids=case_id)
def test_program_agrees_with_the_model(tmp_path, case):
    model, card, path = exported(case, tmp_path, "torch")
    files = {"fastpose.json": ""}
    program = torch.export.load(path, extra_files=files).module()
    for x in inputs_of(model):
        expected = model(x)
        output = program(x)
        assert set(output) == {"logits", "features"}
        torch.testing.assert_close(output["logits"], expected.logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(output["features"], expected.features, rtol=1e-4, atol=1e-5)
    assert json.loads(files["fastpose.json"]) == card.to_metadata()


def test_weights_can_be_loaded_again(tmp_path):
    model, card = make()
    export_model(model, card, tmp_path / "model.safetensors", "safetensors")
    again, same_card = load_model(tmp_path / "model.safetensors")
    assert same_card == card
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def metadata_of(path):
    if path.suffix == ".onnx":
        return onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    if path.suffix == ".pt2":
        files = {"fastpose.json": ""}
        torch.export.load(path, extra_files=files)
        return json.loads(files["fastpose.json"])
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def noisy_clips(layout="coco17", seed=0):
    points = [moving_clip(i, joints=LAYOUTS[layout].num_joints, frames=40) for i in range(8)]
    noise = np.random.default_rng(seed)
    clips = [
        {"keypoints": clip + 9 * noise.standard_normal(clip.shape), "label": 0, "image_size": (480, 640)}
        for clip in points
    ]
    return PackedClips.from_clips(clips, layout=layout)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_says_what_filters_in_front_of_its_model(tmp_path, format):
    clips = noisy_clips()
    prior = Denoiser.fit(clips)
    prior.save(tmp_path / "prior.safetensors")
    model, card = make("dct_mlp", "skeleton")
    (tmp_path / "run").mkdir()
    write_weights(tmp_path / "run" / WEIGHTS, model.state_dict(), card)
    choices = {"off": None, "sure": Denoiser(), str(tmp_path / "prior.safetensors"): prior}
    for choice, expected in choices.items():
        path = tmp_path / f"model{FORMATS[format]}"
        assert export.main([str(tmp_path / "run"), "--out", str(path), "--denoise", choice]) == 0
        metadata = metadata_of(path)
        assert metadata.items() >= card.behind(expected).to_metadata().items()
        assert ("denoise" in metadata) == (choice != "off")
        found = ModelCard.from_metadata(metadata, path).denoiser()
        if expected is None:
            assert found is None
        else:
            assert np.array_equal(found.filter_clips(clips).keypoints, expected.filter_clips(clips).keypoints)


def test_an_exported_file_keeps_its_denoising(tmp_path):
    model, card = make()
    write_weights(tmp_path / "one.safetensors", model.state_dict(), card.behind(Denoiser()))
    for flags, expected in (((), "sure"), (("--denoise", "off"), "off")):
        assert (
            export.main(
                [str(tmp_path / "one.safetensors"), "--out", str(tmp_path / "two.safetensors"), *flags]
            )
            == 0
        )
        assert load_model(tmp_path / "two.safetensors")[1].denoise == expected


def test_a_prior_of_other_joints_is_refused(tmp_path, capsys):
    model, card = make()
    write_weights(tmp_path / "coco.safetensors", model.state_dict(), card)
    Denoiser.fit(noisy_clips("penn13")).save(tmp_path / "penn.safetensors")
    out = tmp_path / "out.safetensors"
    arguments = [str(tmp_path / "coco.safetensors"), "--out", str(out)]
    for choice, message in {
        "penn.safetensors": "error: the prior knows the joints of layout 'penn13', the model takes those of 'coco17'\n",
        "coco.safetensors": "not a prior of body motion",
        "absent.safetensors": "absent.safetensors",
    }.items():
        assert export.main([*arguments, "--denoise", str(tmp_path / choice)]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not out.exists()


def test_damaged_denoising_is_refused_with_its_file(tmp_path):
    model, card = make()
    path = tmp_path / "model.safetensors"
    write_weights(path, model.state_dict(), replace(card, denoise="prior:AAAA"))
    with pytest.raises(ValueError, match=r"model\.safetensors: its denoising cannot be read: not a prior"):
        load_model(path)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, package):
    import_module = importlib.import_module

    def without(name, *arguments):
        if name == package:
            raise ImportError(f"No module named {name!r}")
        return import_module(name, *arguments)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(
        ValueError, match=rf"needs the package {package}: pip install fastpose-action\[export\]"
    ):
        export_model(*make(), tmp_path / "model.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []


def with_backbone(forward):
    model, card = make()
    model.backbone.forward = forward
    return model, card


def test_an_operator_that_onnx_lacks_is_named(tmp_path):
    target = tmp_path / "model.onnx"
    target.write_text("earlier")
    model, card = with_backbone(lambda x: torch.special.bessel_j0(x).repeat(1, 16, 1, 1, 1)[:, :256])
    with pytest.raises(
        ValueError, match=r"C3DLight cannot be exported to ONNX, which has no operator prims\.bessel_j0$"
    ) as caught:
        export_model(model, card, target, "onnx")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert target.read_text() == "earlier"


def test_an_operator_of_others_is_named():
    @torch.library.custom_op("fastpose_test::pool", mutates_args=())
    def pool(x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3, 4), keepdim=True).repeat(1, 16, 1, 1, 1)[:, :256].contiguous()

    pool.register_fake(lambda x: x.new_empty(x.shape[0], 256, 1, 1, 1))
    model, card = with_backbone(lambda x: pool(x))
    with pytest.raises(ValueError, match=r"its operator fastpose_test::pool is not one of torch's own"):
        trace(InputProgram(model.eval(), card))


def test_a_model_that_cannot_be_traced_is_refused():
    model, card = with_backbone(lambda x: torch.full((len(x), 256, 1, 1, 1), float(x.sum())))
    with pytest.raises(ValueError, match="C3DLight cannot be exported: ") as caught:
        trace(InputProgram(model.eval(), card))
    assert "\n" not in str(caught.value)


def test_a_wrong_program_is_refused():
    model, card = make()
    program = InputProgram(model.eval(), card)

    def run(factor):
        def call(x):
            with torch.no_grad():
                output = model(x)
            return [output.logits.numpy(), factor * output.features.numpy()]

        return call

    with torch.no_grad():
        check(run(1.0), program)
        for factor in (1.01, float("nan")):
            with pytest.raises(ValueError, match="the exported program is wrong: its features differ by"):
                check(run(factor), program)
        with pytest.raises(ValueError, match=r"fails on an input \(1, 17, 3, 24, 32\): boom"):
            check(lambda x: (_ for _ in ()).throw(RuntimeError("boom\nand more")), program)


def test_command_on_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model, card = make("c3d_light", "skeleton")
    (tmp_path / "run").mkdir()
    write_weights(tmp_path / "run" / WEIGHTS, model.state_dict(), card)
    assert export.main(["run", "--out", "model.pt2"]) == 0
    assert re.fullmatch(
        r"model\.pt2: 1\d\.\d MB, input \[batch, 68, frames, 1, 1\] → logits \[batch, 2\], features\n",
        capsys.readouterr().out,
    )
    x = torch.randn(3, 68, 5, 1, 1)
    with torch.no_grad():
        logits = torch.export.load("model.pt2").module()(x)["logits"]
        torch.testing.assert_close(logits, model.eval()(x).logits, rtol=1e-4, atol=1e-5)


def test_command_on_a_checkpoint_of_others(tmp_path, capsys):
    source, _ = make("x3d_shallow")
    path = tmp_path / "epoch_24.pth"
    torch.save({"meta": {"epoch": np.int64(24)}, "state_dict": source.state_dict()}, path)
    out = tmp_path / "model.safetensors"
    told = ["--model", "X3D-shallow", "--input", "heatmap", "--model-layout", "coco17"]
    assert export.main([str(path), "--out", str(out), *told]) == 0
    assert "input [batch, 17, frames, height, width] → logits [batch, 2]" in capsys.readouterr().out
    model, card = load_model(out)
    assert card.class_names == ("class_0", "class_1")
    for key, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def test_endings_of_any_case_name_a_format():
    assert [format_of(Path(name)) for name in ("a.ONNX", "a.Pt2")] == ["onnx", "torch"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{weights}", "--out", "model.bin"], "expected one of .safetensors, .onnx, .pt2, or --format"),
        (["{weights}", "--out", "absent/model.pt2"], "error: absent: the output's folder does not exist"),
        (["absent", "--out", "model.onnx"], "absent: not found"),
        (["{bare}", "--out", "model.onnx"], "holds no fastpose model"),
        (
            ["{bare}", "--out", "a.onnx", "--model", "posec3d", "--input", "heatmap"],
            "holds no weights of PoseConv3D",
        ),
        (["{bare}", "--out", "a.onnx", "--model", "resnet"], "unknown model 'resnet'"),
        (["{bare}", "--out", "a.onnx", "--input", "heatmap"], "--model is missing"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    model, card = make()
    export_model(model, card, tmp_path / "weights.safetensors", "safetensors")
    save_file(model.state_dict(), tmp_path / "bare.safetensors")
    names = {"weights": "weights.safetensors", "bare": "bare.safetensors"}
    assert export.main([argument.format(**names) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert {path.name for path in tmp_path.iterdir()} == {"weights.safetensors", "bare.safetensors"}
