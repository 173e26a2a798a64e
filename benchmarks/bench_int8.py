"""Scores of clips by products of whole numbers, beside the same model in fp32 and bf16, on one thread."""

import pytest
import torch
from measuring import measure

from fastpose.models import create_model
from fastpose.models.quantized import quantized
from fastpose.system.environment import cpu_has_bf16
from fastpose.system.placement import Placement

SECTION = "scores of clips by products in int8 (T = 24), beside fp32 and bf16"
THREADS = (1,)
MODELS = {
    "PoseConv3D on skeletons B64": ("posec3d", {"input": "skeleton"}),
    "PoseConv3D on heatmaps B2": ("posec3d", {"input": "heatmap"}),
    "X3D-shallow on heatmaps B2": ("x3d_shallow", {"input": "heatmap"}),
    "MotionBERT-lite B2": ("motionbert_lite", {"layout": "coco17"}),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", ["int8", "fp32", "bf16"])
def test_scores(benchmark, name, precision, threads):
    if precision == "bf16" and not cpu_has_bf16():
        pytest.skip("bf16, for which this processor has no instructions")
    kind, options = MODELS[name]
    clips = int(name.rpartition("B")[2])
    torch.manual_seed(0)
    placement = Placement.choose("cpu", precision, evaluates=True)
    model = placement.place(create_model(kind, num_classes=60, **options).eval())
    model = quantized(model) if precision == "int8" else model
    keypoints = torch.rand(clips, 1, 24, 17, 3)
    keypoints[..., :2] *= 56
    with torch.inference_mode(), placement.autocast():
        x = model.prepare_input(keypoints)
        who = "fastpose" if precision == "int8" else precision
        measure(
            benchmark, lambda: model(x), SECTION, who=who, case=name, row=f"{name} {precision}", clips=clips
        )
