"""Training: steps, schedule, noise of the noisy view, validation, and where it runs."""

import math
from dataclasses import dataclass
from typing import Literal

from fastpose.settings.checks import (
    MOST_CLIPS,
    MOST_EPOCHS,
    MOST_THREADS,
    check,
    check_words,
    require,
    settle_families,
    settle_levels,
)
from fastpose.settings.short_text import short


def parse_alpha(text: str) -> tuple[float, float]:
    """Read a noise level "0.025", or a range "0:0.2" from which each clip draws its own, as (low, high)."""
    parts = str(text).split(":")
    try:
        low, high = float(parts[0]), float(parts[-1])
    except ValueError:
        low = high = math.nan
    require(
        len(parts) <= 2 and 0 <= low <= high < math.inf,
        f"alpha = {short(text)}: expected a number ≥ 0 such as 0.025, or a range such as 0:0.2",
    )
    return low, high


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """Training; the defaults are the report's."""

    epochs: int = 150
    batch_size: int | Literal["auto"] = 32
    """Clips of a step; auto: the largest power of two that fits in memory. The learning rate is not scaled with it."""
    micro_batch: int | None = None
    """Largest number of clips in one pass through the model; the gradient is that of the whole batch, batch-norm
    statistics are those of each micro-batch. By default the whole batch."""
    checkpoint_activations: bool = False
    """Compute activations a second time in the backward pass instead of keeping them: slower, in less memory."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile of passes and loss; auto: on CUDA. Not with micro_batch or checkpoint_activations."""
    cuda_graph: Literal["auto", "off"] = "auto"
    """auto: on CUDA a step is one CUDA graph. Not with micro_batch or checkpoint_activations."""
    lr: float = 1e-3
    head_lr: float | None = None
    """Learning rate of the classifier, if it differs."""
    weight_decay: float = 0.01
    grad_clip: float = 20.0
    """Largest norm of the gradient."""
    schedule: Literal["constant", "cosine", "one_cycle", "step"] = "constant"
    lr_decay: float = 0.99
    """Schedule step: factor on the learning rate from each epoch to the next."""
    pct_start: float = 0.3
    """Schedule one_cycle: share of the steps in which the learning rate rises to --lr."""
    div_factor: float = 25.0
    """Schedule one_cycle: --lr over the first learning rate."""
    final_div_factor: float = 1e4
    """Schedule one_cycle: the first learning rate over the last."""
    warmup_epochs: float = 0.0
    """Epochs over which the learning rate rises linearly from 0 to the first of the schedule."""
    ema: float = 0.0
    """Decay of the moving average of the weights, which is then what is evaluated; 0 for none."""
    alpha: str = "0.01"
    """Noise level of the noisy view, or a range such as 0:0.2; each clip then draws its own."""
    train_families: tuple[str, ...] = ("gaussian",)
    """Noise families of the noisy view, or all: each clip draws one of them in each epoch."""
    views: Literal["noise", "tempo", "both"] = "noise"
    """What sets the second view of the contrastive arm apart. noise; tempo: half the frames, each shown twice, as if it
    was played at another speed (Singh et al. 2021, TCL); both."""
    class_order: Literal["natural", "balanced"] = "natural"
    """balanced: each class is met equally often; clips of small classes several times an epoch."""
    sync_batch_norm: bool = False
    """Several processes: batch norms take statistics of all their clips; without, each of its own."""
    labelled_share: float = 0.25
    """Few labels: the least share of labelled clips in a batch; they then come several times an epoch."""
    share_clean: bool = True
    """One clean batch, and one forward pass, for the supervised and the contrastive clean stream."""
    joint_pass: bool = False
    """Clean and noisy views in one forward pass, with common batch statistics."""
    val_every: int = 0
    """Epochs from one validation on the held-out clips to the next (and one after the last); 0 for none."""
    val_alphas: tuple[float, ...] = (0.0, 0.02)
    """Levels of Gaussian noise of a validation, of one sampling of each clip; patience looks at their mean top-1."""
    patience: int = 0
    """End training after this many validations in a row without a better one, at its weights; 0 for never."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bf16 on GPUs and on CPUs with bf16 instructions, else fp32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_minutes: float = 0.5
    """From one checkpoint to the next, at least; there is one at the end, and after the step in hand when a run is told
    to end."""
    threads: int | None = None
    """CPU threads of a run; all by default, of several at a time (--jobs) its share."""

    def __post_init__(self) -> None:
        check_words(self)
        parse_alpha(self.alpha)
        settle_families(self, "train_families")
        check(self, f"at least 1, at most {MOST_EPOCHS:,}", lambda n: 1 <= n <= MOST_EPOCHS, "epochs")
        check(self, f"at least 1, or auto (at most {MOST_CLIPS:,})",
              lambda n: n == "auto" or 1 <= n <= MOST_CLIPS, "batch_size")  # fmt: skip
        check(self, f"at least 1, or none for a whole batch (at most {MOST_CLIPS:,})",
              lambda n: n is None or 1 <= n <= MOST_CLIPS, "micro_batch")  # fmt: skip
        require(
            self.micro_batch is None or self.batch_size != "auto",
            f"batch_size = 'auto': expected no micro_batch, with which any batch fits, got {self.micro_batch}",
        )
        check(self, "a number > 0", lambda x: 0 < x < math.inf, "lr", "grad_clip")
        check(self, "a number > 0, or none for lr", lambda x: x is None or 0 < x < math.inf, "head_lr")
        check(self, "0 < factor ≤ 1", lambda x: 0 < x <= 1, "lr_decay")
        check(self, "0 < share < 1", lambda x: 0 < x < 1, "pct_start", "labelled_share")
        check(self, "a number ≥ 1", lambda x: 1 <= x < math.inf, "div_factor", "final_div_factor")
        check(self, "a number ≥ 0", lambda x: 0 <= x < math.inf, "weight_decay")
        check(self, "0 ≤ ema < 1", lambda x: 0 <= x < 1, "ema")
        check(
            self,
            f"a number from 0 to epochs, which is {self.epochs}",
            lambda n: 0 <= n <= self.epochs,
            "warmup_epochs",
        )
        check(self, f"at least 1, or none for all (at most {MOST_THREADS:,})",
              lambda n: n is None or 1 <= n <= MOST_THREADS, "threads")  # fmt: skip
        check(
            self,
            f"0 or more, at most {MOST_EPOCHS:,}",
            lambda n: 0 <= n <= MOST_EPOCHS,
            "val_every",
            "patience",
        )
        check(self, "a number of minutes ≥ 0", lambda x: 0 <= x < math.inf, "checkpoint_minutes")
        settle_levels(self, "val_alphas")
        require(
            self.patience == 0 or self.val_every > 0,
            f"patience = {self.patience}: expected val_every > 0, so that there are validations to compare",
        )
