"""The optimiser: its groups, its learning rates, and its state from a checkpoint."""

from typing import Any

import torch
from torch import Tensor, nn

from fastpose.settings import OptimConfig


def parameter_groups(model: nn.Module, optim: OptimConfig) -> list[dict[str, Any]]:
    """Return the optimiser's groups: one, or the backbone's and the head's where the head has its own rate.

    The head's ``lr_scale`` is its learning rate over ``optim.lr``.

    Raises:
        ValueError: the head is to have its own rate, and the model does not name its head.
    """
    if optim.head_lr is None:
        return [{"params": list(model.parameters())}]
    prefix = getattr(model, "head_prefix", None)
    if prefix is None:
        raise ValueError(
            f"head_lr = {optim.head_lr:g}: {type(model).__name__} names no head; expected an attribute head_prefix"
        )
    backbone, head = [], []
    for name, parameter in model.named_parameters():
        (head if name.startswith(prefix) else backbone).append(parameter)
    return [{"params": backbone}, {"params": head, "lr_scale": optim.head_lr / optim.lr}]


def make_optimizer(model: nn.Module, optim: OptimConfig, *, graphed: bool) -> torch.optim.Optimizer:
    """Return AdamW in one kernel for all weights; of steps that are CUDA graphs, its rates are tensors they read."""
    groups = parameter_groups(model, optim)
    if not graphed:
        return torch.optim.AdamW(groups, lr=optim.lr, weight_decay=optim.weight_decay, fused=True)
    device = next(model.parameters()).device
    for group in groups:
        group["lr"] = torch.full((), optim.lr, device=device)
    return torch.optim.AdamW(groups, weight_decay=optim.weight_decay, fused=True, capturable=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group, of the head in proportion."""
    for group in optimizer.param_groups:
        own = rate * group.get("lr_scale", 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(own)
        else:
            group["lr"] = own


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a checkpoint's moments and rates, of a run on whatever device; other options are those of ``optimizer``.

    Rates that are tensors stay where they are.

    Raises:
        ValueError: they are not of its weights; KeyError, TypeError or AttributeError where it is no such state.
    """
    options = [
        {name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups
    ]
    _check_moments(optimizer, state)
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, options, strict=True):
        rate = float(group["lr"])
        is_tensor = isinstance(own["lr"], Tensor)
        group.update(own)  # what the settings say
        group["lr"] = own["lr"].fill_(rate) if is_tensor else rate
        group["capturable"] = is_tensor


def _check_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Raise ValueError unless each weight's moments in ``state`` are of its shape and dtype: fused steps trust them."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    places = [place for group in state["param_groups"] for place in group["params"]]
    for place, weight in zip(places, weights, strict=True):
        moments = state["state"].get(place, {})
        if moments and moments.keys() != {"step", "exp_avg", "exp_avg_sq"}:
            raise ValueError("the optimiser's state is not AdamW's")
        for name, value in moments.items():
            like = torch.zeros(()) if name == "step" else weight
            if not isinstance(value, Tensor) or value.shape != like.shape or value.dtype != like.dtype:
                raise ValueError(f"the optimiser's {name} is not of its weight's shape and dtype")
