"""All views of the clips in one pass: each as if it passed alone."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.clips import waving_clips
from torch import nn

from fastpose.data import ClipSampler
from fastpose.models import create_model
from fastpose.models.layers import BatchNorm, separate_views
from fastpose.settings import OptimConfig, RunConfig
from fastpose.training.task import PoseTask

SIZE, FRAMES, CLIPS = (12, 12), 6, 5
MODELS = {
    "posec3d on skeletons": ("posec3d", {"input": "skeleton", "max_persons": 1}),
    "posec3d on heatmaps": ("posec3d", {"input": "heatmap"}),
    "x3d_shallow": ("x3d_shallow", {"input": "heatmap"}),
    "c3d_light": ("c3d_light", {"input": "grayscale"}),
    "dct_mlp": ("dct_mlp", {"input": "skeleton", "max_persons": 1}),
    "motionbert": (
        "motionbert",
        {"dim_feat": 16, "dim_rep": 8, "depth": 1, "num_heads": 2, "hidden_dim": 12},
    ),
}


@given(
    views=st.integers(1, 4),
    clips=st.integers(2, 5),
    volume=st.booleans(),
    relu=st.booleans(),
    residual=st.booleans(),
    affine=st.booleans(),
    seed=st.integers(0, 99),
)
def test_batch_norm_of_each_view(views, clips, volume, relu, residual, affine, seed):
    torch.manual_seed(seed)
    shape = (clips, views, 3, *((2, 3, 2) if volume else ()))
    x, added, weights = (torch.randn(shape, dtype=torch.float64) for _ in range(3))
    one_by_one = BatchNorm(3, momentum=0.3, affine=affine).double()
    for tensor in one_by_one.parameters():
        nn.init.uniform_(tensor, -1, 2)
    at_once = copy.deepcopy(one_by_one)
    assert separate_views(at_once, views)
    leaves = x.clone().requires_grad_(), x.clone().requires_grad_()
    options = [{"residual": added[:, i] if residual else None, "relu": relu} for i in range(views)]
    expected = torch.stack([one_by_one(leaves[0][:, i], **options[i]) for i in range(views)], 1)
    joined = added.flatten(0, 1) if residual else None
    found = at_once(leaves[1].flatten(0, 1), residual=joined, relu=relu).unflatten(0, (clips, views))
    torch.testing.assert_close(found, expected)
    for result in (expected, found):
        (weights * result).sum().backward()
    torch.testing.assert_close(leaves[1].grad, leaves[0].grad)
    for ours, theirs in zip(at_once.parameters(), one_by_one.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(at_once, name), getattr(one_by_one, name))


@pytest.mark.parametrize("views", [1, 3])
def test_a_lone_row_is_normalised_by_the_running_statistics(views):
    norm = BatchNorm(4)
    norm(torch.randn(16, 4) * 3 + 1)
    assert separate_views(norm, views)
    before = copy.deepcopy(norm.state_dict())
    x = torch.randn(views, 4, requires_grad=True)
    found = norm(x)
    torch.testing.assert_close(found, (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt())
    found.sum().backward()
    assert norm.weight.grad.abs().sum() > 0
    assert x.grad.abs().sum() > 0
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("share_clean", [True, False], ids=["two views", "three views"])
def test_a_step_is_that_of_a_pass_for_each_view(name, share_clean):
    kind, options = MODELS[name]
    optim = OptimConfig(alpha="0.1", share_clean=share_clean)
    config = RunConfig(arm="contrastive", optim=optim)
    sampler = ClipSampler(waving_clips(CLIPS), clip_len=FRAMES, size=SIZE)
    torch.manual_seed(0)
    size = {} if name == "motionbert" else {"size": SIZE}
    model = (
        create_model(kind, num_classes=3, num_keypoints=17, dropout=0.0, **size, **options).double().train()
    )
    for module in model.modules():
        if isinstance(module, BatchNorm) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)  # zeros would hide branches
        elif isinstance(module, nn.Dropout):
            module.p = 0.0  # also where the option leaves it
    results = []
    for joined in (False, True):
        task, network = PoseTask(config), copy.deepcopy(model)
        if joined:
            task.join_passes(network)
            assert task.separate_pass
        views = {
            view: sampler.batch(range(CLIPS), epoch=0, stream=stream, alpha=alpha)
            for view, (stream, alpha) in task.views.items()
        }
        outputs = task.forward(network, views)
        loss = sum((i + 1) * output.logits.square().sum() for i, output in enumerate(outputs.values()))
        loss.backward()
        features = {f"{view} features": output.features for view, output in outputs.items()}
        gradients = {f"gradient of {name}": weight.grad for name, weight in network.named_parameters()}
        results.append({**features, **gradients, **dict(network.named_buffers())})
    assert results[0].keys() == results[1].keys()
    for name, expected in results[0].items():
        torch.testing.assert_close(
            results[1][name], expected, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_networks_that_cannot_keep_their_views_apart_pass_one_by_one():
    task = PoseTask(RunConfig(arm="contrastive"))
    model = create_model("posec3d", input="skeleton", num_classes=3, num_keypoints=17, max_persons=1)
    model.backbone.layer1[0].conv1.bn = nn.BatchNorm3d(32)
    task.join_passes(model)
    assert not task.separate_pass
    task.join_passes(nn.Linear(3, 3))
    assert not task.separate_pass
