"""The learning rate over a run, as a function of the optimiser step alone, so that a resumed run goes on with it."""

import math

from fastpose.settings import OptimConfig


def learning_rate_factor(step: int, steps_per_epoch: int, optim: OptimConfig) -> float:
    """Return the factor on ``optim.lr`` at optimiser step ``step``, counted from 0 over the whole run.

    After ``warmup_epochs``, in which the rate rises linearly from 0 to where the schedule begins:

    - constant: 1.
    - step: ``lr_decay`` to the power of the epochs done, those of the warm-up included.
    - cosine: half a cosine from 1 to 0 at the end of the run (`torch.optim.lr_scheduler.CosineAnnealingLR`).
    - one_cycle: half a cosine from 1 / ``div_factor`` to 1, over ``pct_start`` of the steps, and another down to
      1 / (``div_factor`` · ``final_div_factor``) at the last step: `OneCycleLR` of torch without its change of
      momentum. Source: Smith & Topin, "Super-convergence", 2018, as fast.ai anneals it.
    """
    warmup = optim.warmup_epochs * steps_per_epoch
    if step < warmup:
        begin = 1 / optim.div_factor if optim.schedule == "one_cycle" else 1.0
        return begin * step / warmup
    if optim.schedule == "constant":
        return 1.0
    if optim.schedule == "step":
        return optim.lr_decay ** (step // steps_per_epoch)
    done, steps = step - warmup, optim.epochs * steps_per_epoch - warmup  # steps > done
    if optim.schedule == "cosine":
        return _anneal(1.0, 0.0, done / steps)
    low, peak, last = 1 / optim.div_factor, optim.pct_start * steps - 1, steps - 1
    if done < peak:
        return _anneal(low, 1.0, done / peak)
    return _anneal(1.0, low / optim.final_div_factor, min((done - peak) / (last - peak), 1.0))


def depends_on_epochs(schedule: str) -> bool:
    """Return whether the learning rate of an epoch depends on how many there will be."""
    return schedule in ("cosine", "one_cycle")


def _anneal(begin: float, end: float, share: float) -> float:
    """Return half a cosine from ``begin`` (share 0) to ``end`` (share 1)."""
    return end + (begin - end) / 2 * (1 + math.cos(math.pi * share))
