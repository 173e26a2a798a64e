"""The stem as a torch operator: checks, dtypes, gradients, registration, compilation."""

import warnings

import pytest
import torch
from support.stem import MODES, limbs_of, make_case, results

from fastpose.ops import pose_stem

SIZE = (9, 11)
KEYPOINTS, WEIGHT, _ = make_case("heatmap", (1, 2, 3, 4), SIZE, (3, 3, 3), 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keypoints": KEYPOINTS[0]}, r"pose_stem: keypoints must be \[clips"),
        ({"keypoints": KEYPOINTS.int()}, r"keypoints must be floating"),
        ({"size": (0, 5)}, r"integers from 1 to"),
        ({"sigma": 0.0}, r"sigma must be"),
        ({"mode": "joints"}, r"one of heatmap, grayscale, limb, got 'joints'"),
        ({"mode": "limb"}, r"pose_stem: mode='limb' needs limbs"),
        ({"mode": "grayscale", "joint_merge": "mean"}, r"one of sum, max, got 'mean'"),
        ({"weight": [1.0]}, r"weight must be a floating tensor \[O, C, kT, kH, kW\], got list"),
        ({"weight": WEIGHT.int()}, r"got torch\.int32 \(6, 4, 3, 3, 3\)"),
        ({"weight": WEIGHT[0]}, r"got torch\.float32 \(4, 3, 3, 3\)"),
        ({"weight": WEIGHT[:, :3]}, r"must have 4 channels, which are the maps of mode = 'heatmap'"),
        ({"weight": WEIGHT[:0]}, r"weight must not be empty, got \(0, 4, 3, 3, 3\)"),
        ({"weight": WEIGHT.to("meta")}, r"keypoints are on cpu, but weight on meta"),
        ({"stride": 0}, r"stride must be one or three integers from 1 to 16777216, got 0"),
        ({"stride": 2**62, "padding": 2**62}, r"stride must be .* got 4611686018427387904"),
        ({"stride": (1, 1, 2**24 + 1)}, r"stride must be .* got \(1, 1, 16777217\)"),
        ({"stride": (1, 2)}, r"stride must be .* got \(1, 2\)"),
        ({"stride": True}, r"stride must be .* got True"),
        ({"padding": -1}, r"padding must be one or three integers from 0 to 16777216, got -1"),
        ({"padding": 2**31}, r"padding must be .* got 2147483648"),
        ({"padding": (0, 1.0, 1)}, r"padding must be .* got \(0, 1\.0, 1\)"),
        ({"size": (2, 5), "padding": 0}, r"kernel \(3, 3, 3\) is larger than the padded maps \(3, 2, 5\)"),
        ({"dtype": torch.int8}, r"dtype must be one of .* got torch\.int8"),
        ({"backend": "cuda"}, r"backend must be one of auto, triton, native, blocked, reference, got 'cuda'"),
        ({"backend": "triton"}, r"needs its tensors on a CUDA device, and they are on cpu"),
        ({"backend": "native", "dtype": torch.float16}, r"does not write torch\.float16"),
        ({"backend": "native", "weight": WEIGHT.double(), "dtype": torch.float32}, r"would round what is in float64"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        pose_stem(**{"keypoints": KEYPOINTS, "weight": WEIGHT, "size": SIZE} | arguments)


def test_settings_without_effect_warn_once():
    with pytest.warns(UserWarning, match="pose_stem: joint_merge has no effect") as caught:
        pose_stem(KEYPOINTS, WEIGHT, SIZE, joint_merge="max")
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("keypoints", "weight", "autocast", "dtype", "expected"),
    [
        (torch.float32, torch.float32, False, None, torch.float32),
        (torch.float32, torch.bfloat16, False, None, torch.bfloat16),
        (torch.float32, torch.float32, True, None, torch.bfloat16),
        (torch.float32, torch.float32, True, torch.float32, torch.float32),
        (torch.float64, torch.float32, False, None, torch.float32),
        (torch.float32, torch.float64, True, None, torch.float64),
        (torch.float16, torch.float16, False, None, torch.float16),
    ],
)
def test_dtypes(keypoints, weight, autocast, dtype, expected):
    inputs = KEYPOINTS.nan_to_num().clamp(-100, 100).to(keypoints), WEIGHT.clone().to(weight).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = pose_stem(*inputs, SIZE, dtype=dtype)
        reference = pose_stem(*inputs, SIZE, dtype=dtype, backend="reference")
    assert found.dtype == reference.dtype == expected
    torch.testing.assert_close(found, reference)
    found.sum().backward()
    assert inputs[1].grad.dtype == weight


@pytest.mark.parametrize("clips", [0, 1, 2])
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_what_is_drawn_has_the_dtype_and_order_of_what_is_not(clips, dtype, autocast):
    arguments = {"size": SIZE, "mode": "grayscale", "dtype": dtype}
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        drawn = pose_stem(
            KEYPOINTS[:1].repeat(clips, 1, 1, 1, 1), WEIGHT[:, :1], joint_merge="max", **arguments
        )
        other = pose_stem(
            KEYPOINTS[:1].repeat(clips, 1, 1, 1, 1), WEIGHT[:, :1], joint_merge="sum", **arguments
        )
    assert drawn.dtype == other.dtype == (dtype or (torch.bfloat16 if autocast else torch.float32))
    assert drawn.shape == other.shape
    assert drawn.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("stride", [1, 2, (1, 2, 3)])
@pytest.mark.parametrize("padding", [None, 2, (0, 1, 2)])
def test_shapes_are_those_of_a_convolution(stride, padding):
    weight = torch.ones(2, 4, 2, 3, 6)
    like = torch.nn.functional.conv3d(
        torch.zeros(1, 4, 3, *SIZE), weight, None, stride, (1, 1, 3) if padding is None else padding
    )
    for backend in ("native", "reference"):
        assert (
            pose_stem(KEYPOINTS, weight, SIZE, stride=stride, padding=padding, backend=backend).shape
            == like.shape
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", MODES)
def test_operator_contract(mode, dtype):
    keypoints, weight, _ = make_case(mode, (1, 2, 3, 4), SIZE, (3, 3, 3), 6)
    limbs = [joint for pair in limbs_of(mode, 4) or [] for joint in pair]
    settings = (list(SIZE), 0.6, mode, limbs, [1, 2, 1], [1, 1, 1])
    ops = torch.ops.fastpose
    for free in (False, True):
        inputs = [tensor.clone().requires_grad_(free) for tensor in (keypoints.nan_to_num(0, 0, 0), weight)]
        torch.library.opcheck(ops.pose_stem.default, (*inputs, *settings, dtype))
    gradient = ops.pose_stem(keypoints, weight, *settings, dtype) + 1
    torch.library.opcheck(ops.pose_stem_weight_gradient.default, (gradient, keypoints, weight, *settings))
    torch.library.opcheck(ops.pose_stem_keypoint_gradient.default, (gradient, keypoints, weight, *settings))


def test_compiles_to_one_graph_for_several_sizes():
    def model(keypoints, weight, size):
        return pose_stem(keypoints * 1.0, weight, size, stride=(1, 2, 2)).relu()

    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=True)
    for shape, size in (((2, 2, 3, 4), SIZE), ((3, 2, 5, 4), (13, 8))):
        keypoints, weight, _ = make_case("heatmap", shape, size, (3, 3, 3), 6)
        found = []
        for form in (model, compiled):
            inputs = keypoints.clone().requires_grad_(), weight.clone().requires_grad_()
            output = form(*inputs, size)
            found.append((output, *torch.autograd.grad(output.square().sum(), inputs)))
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_only_what_is_asked_for_has_a_gradient(monkeypatch):
    called = []
    for name in ("weight", "keypoint"):
        operator = f"pose_stem_{name}_gradient"
        original = getattr(torch.ops.fastpose, operator)
        monkeypatch.setattr(
            torch.ops.fastpose, operator, lambda *a, name=name, original=original: called.append(name) or original(*a)
        )  # fmt: skip
    weight = WEIGHT.clone().requires_grad_()
    pose_stem(KEYPOINTS, weight, SIZE, backend="native").sum().backward()
    assert called == ["weight"]


def square_loss(keypoints, backend="auto"):
    return pose_stem(keypoints, WEIGHT, SIZE, backend=backend).square().sum()


@pytest.mark.parametrize(
    "transform",
    [
        lambda loss, x: torch.func.grad(loss)(x),
        lambda loss, x: torch.func.vmap(torch.func.grad(loss))(x[None]),
        lambda loss, x: torch.func.jvp(loss, (x,), (x,))[1],
    ],
    ids=["grad", "vmap(grad)", "jvp"],
)
def test_transforms_run_the_reference(transform):
    x = KEYPOINTS.nan_to_num(0, 0, 0)
    assert transform(square_loss, x).count_nonzero() > 0
    with pytest.raises(ValueError, match="backend='native' has no rules for torch.func"):
        transform(lambda keypoints: square_loss(keypoints, "native"), x)


def test_a_second_derivative_is_an_error():
    for leaf in ("keypoints", "weight"):
        inputs = {"keypoints": KEYPOINTS.nan_to_num(0, 0, 0), "weight": WEIGHT.clone()}
        inputs[leaf].requires_grad_()
        for backend in ("reference", "native"):
            loss = pose_stem(**inputs, size=SIZE, backend=backend).square().sum()
            (gradient,) = torch.autograd.grad(loss, inputs[leaf], create_graph=True)
            if backend == "reference":
                gradient.sum().backward()
                continue
            with pytest.raises(
                RuntimeError, match="pose_stem: no second derivative; backend='reference' has one"
            ):
                gradient.sum().backward()


def test_an_exported_model_draws():
    class Stem(torch.nn.Module):
        def forward(self, keypoints):
            return pose_stem(keypoints, WEIGHT, SIZE)

    x = KEYPOINTS.nan_to_num(0, 0, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(Stem(), (x,))
    assert not any("fastpose" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(x), pose_stem(x, WEIGHT, SIZE), rtol=1e-4, atol=1e-5)


def test_gradients_of_half_precision_weights_are_theirs():
    found = results(KEYPOINTS, WEIGHT.bfloat16(), torch.bfloat16, "native", size=SIZE)
    assert [tensor.dtype for tensor in found] == [torch.bfloat16, torch.float32, torch.bfloat16]
