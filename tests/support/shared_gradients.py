"""Gradients of a step that processes take together, beside those of the same step in one."""

import warnings
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from support.clips import waving_clips
from support.training import TINY
from torch import nn

from fastpose.models import ModelOutput
from fastpose.models.registry import register_model
from fastpose.settings import LossConfig, ModelConfig, RunConfig
from fastpose.system.processes import ALONE, Processes
from fastpose.training.accumulation import accumulate_gradient
from fastpose.training.setup import Setup

LOSS = LossConfig(gamma1=1.0, gamma2=0.3, supcon_weight=0.5, label_smoothing=0.1)
BASE = replace(
    TINY,
    model=ModelConfig(model="dct_mlp"),
    loss=LOSS,
    optim=replace(TINY.optim, sync_batch_norm=True, batch_size=7, ema=0.0),
)


def changed(base: RunConfig = BASE, *, model=None, loss=None, data=None, **optim) -> RunConfig:
    return replace(
        base,
        model=replace(base.model, **(model or {})),
        loss=replace(base.loss, **(loss or {})),
        data=replace(base.data, **(data or {})),
        optim=replace(base.optim, **optim),
    )


class OwnNetwork(nn.Module):
    """A user's: torch's own batch norm, a weight that no output depends on, features that no logit depends on."""

    frozen = detaches = False

    def __init__(self, num_classes: int, **_: object) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(34, 16), nn.BatchNorm1d(16), nn.Tanh())
        self.unused = nn.Linear(4, 4)
        self.project, self.head = nn.Linear(16, 8), nn.Linear(16, num_classes)
        self.layers.requires_grad_(not self.frozen)

    def prepare_input(self, batch):
        return batch.keypoints[:, 0, ..., :2].flatten(2).mean(1) / 16

    def forward(self, x):
        hidden = self.layers(x)
        features = hidden.detach() if self.detaches else self.project(hidden)
        return ModelOutput(self.head(hidden), features)


class SingularNetwork(OwnNetwork):
    """Its features have no finite derivative, which matters to nobody as long as no loss is of them."""

    def forward(self, x):
        output = super().forward(x)
        return ModelOutput(output.logits, (0 * output.features).pow(2).sum(1, keepdim=True).sqrt())


class FrozenNetwork(OwnNetwork):
    frozen = detaches = True


class DetachedNetwork(OwnNetwork):
    detaches = True


POSE_CONV = {"model": "posec3d"}
# Cases by name: settings, and whether batch norms have fixed statistics.
CASES: dict[str, tuple[RunConfig, bool]] = {
    "contrastive": (BASE, False),
    "supervised": (replace(BASE, arm="supervised"), False),
    "augmented, both views": (replace(changed(loss={"ce_views": "both"}), arm="augmented"), False),
    "joint pass": (changed(joint_pass=True, batch_size=5), False),
    "own anchor": (changed(share_clean=False), False),
    "few rows, sharp": (changed(loss={"temperature": 0.05, "symmetric": True}), False),
    "softmax, guessed groups": (
        changed(loss={"representation": "softmax", "group_labels": "pseudo", "detach_clean": True}),
        False,
    ),
    "class weights": (changed(loss={"class_weights": "balanced"}), False),
    "few labels": (changed(data={"labels_per_class": 2}, loss={"pseudo_threshold": 0.1}), False),
    "another speed": (changed(views="both"), False),
    "fixed statistics": (changed(sync_batch_norm=False), True),
    "micro-batches": (changed(sync_batch_norm=False, micro_batch=2), True),
    "posec3d": (changed(model=POSE_CONV), False),
    "posec3d, recomputed": (changed(model=POSE_CONV, checkpoint_activations=True), False),
    "motionbert_lite": (changed(model={"model": "motionbert_lite"}, batch_size=5), False),
    "X3D": (changed(model={"model": "X3D-shallow"}), False),
    "a user's network": (changed(model={"model": "own"}, sync_batch_norm=False), True),
    "no loss of features": (
        replace(changed(model={"model": "own"}, sync_batch_norm=False), arm="supervised"),
        True,
    ),
    "singular features": (
        replace(changed(model={"model": "singular"}, sync_batch_norm=False), arm="supervised"),
        True,
    ),
    "the same in parts": (
        replace(changed(model={"model": "own"}, sync_batch_norm=False, micro_batch=2), arm="supervised"),
        True,
    ),
    "frozen, but for the head": (changed(model={"model": "frozen"}, sync_batch_norm=False), True),
    "features without gradient": (changed(model={"model": "detached"}, sync_batch_norm=False), True),
}


def _set_up(config: RunConfig, fixed: bool, processes: Processes) -> Setup:
    setup = Setup(config, waving_clips(24), processes)
    setup.model.double().train(not fixed)
    setup.model.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    for name, weight in setup.model.named_parameters():
        if name.endswith("conv3.bn.weight"):  # zero hides the branch
            nn.init.ones_(weight)
    for module in setup.model.modules():
        if isinstance(module, nn.Dropout):  # which differs by process
            module.p = 0.0
    return setup


def _gradients(setup: Setup, batch: slice) -> dict[str, torch.Tensor]:
    order, part = setup.order.epoch(0), setup.processes.part_of(batch)
    views = setup.draw(order.clips[part], 0, order.passes[part])
    setup.optimizer.zero_grad()
    if setup.step.shared is None:
        result = accumulate_gradient(setup.task, setup.model, views, 0, setup.placement.autocast)
    else:
        result = setup.step.shared(views, batch.stop - batch.start, 0, setup.placement.autocast)
    found = {name: weight.grad for name, weight in setup.model.named_parameters() if weight.grad is not None}
    terms = {name: value for name, value in result.items() if name != "output"}
    return {name: value.clone() for name, value in (found | terms).items()}


def _compare(rank: int, size: int, folder: str) -> None:
    """Write for each case the largest difference of a gradient or a term of the loss, over its largest value."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for own, network in (
        ("own", OwnNetwork),
        ("singular", SingularNetwork),
        ("frozen", FrozenNetwork),
        ("detached", DetachedNetwork),
    ):
        register_model(own, network)
    with ExitStack() as ended:
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/store-{size}", rank=rank, world_size=size
        )
        ended.callback(dist.destroy_process_group)
        found: dict[str, object] = {}
        for name, (config, fixed) in CASES.items():
            try:
                shared, alone = (
                    _set_up(config, fixed, processes) for processes in (Processes(rank, size), ALONE)
                )
                found[name] = max(
                    _difference(_gradients(shared, batch), _gradients(alone, batch))
                    for batch in (
                        shared.order.batches[-1],
                        slice(0, 2),
                    )  # of uneven parts; of fewer than processes
                )
            except Exception as error:
                found[name] = f"{type(error).__name__}: {error}"
                break  # the others wait for this one
        torch.save(found, Path(folder) / f"found-{size}-{rank}.pt")


def _difference(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    largest = max(float(value.abs().max()) for value in expected.values())
    return max(
        float((found[name] - value).abs().max() / value.abs().max().clamp_min(1e-3 * largest))
        for name, value in expected.items()
    )


def compare_gradients(size: int, folder: Path) -> list[dict[str, object]]:
    """Return what each of ``size`` processes found, by case."""
    multiprocessing.spawn(_compare, (size, str(folder)), nprocs=size)
    return [torch.load(folder / f"found-{size}-{rank}.pt") for rank in range(size)]
