"""One training run: everything that decides its result."""

from dataclasses import dataclass, field
from typing import Literal

from fastpose.settings.checks import check, is_changed, require
from fastpose.settings.data import DataConfig
from fastpose.settings.evaluation import EvalConfig
from fastpose.settings.loss import LossConfig
from fastpose.settings.model import ModelConfig
from fastpose.settings.optim import OptimConfig

Arm = Literal["supervised", "augmented", "contrastive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One training run: everything that decides its result."""

    arm: Arm = "contrastive"
    """supervised: clean clips; augmented: cross-entropy on noisy clips; contrastive: three streams."""
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        check(self, "a seed from 0 to 2^63 - 1", lambda n: 0 <= n < 2**63, "seed")
        require(
            not self.model.published or self.data.sampling.crop == "frame",
            "published = True: expected crop = 'frame', as the preset motionbert-published has",
        )
        require(
            not self.optim.val_every or self.data.val_clips > 0,
            f"val_every = {self.optim.val_every}: expected val_clips > 0, so that there are clips to validate on",
        )

    @property
    def uses_unlabelled(self) -> bool:
        """Whether training clips without labels are trained on: in contrast, or where they get pseudo-labels.

        In the augmented arm that takes a clean view, on which these are found.
        """
        if not self.data.few_labels or self.arm == "supervised":
            return False
        guesses = self.loss.pseudo_threshold < 1
        return self.arm == "contrastive" or (guesses and self.loss.ce_views == "both")

    def idle_settings(self) -> list[str]:
        """Return changed settings that another setting keeps from having any effect, each as a sentence."""
        idle = []
        if self.data.sampling.crop == "frame":
            unused, reason = ("crop_padding", "min_box", "crop_area", "crop_aspect"), "crop = 'frame'"
            idle += [(name, reason) for name in unused if is_changed(self.data.sampling, name)]
        if self.data.sampling.frame_rule != "means" and is_changed(self.data.sampling, "window"):
            idle.append(("window", f"frame_rule = {self.data.sampling.frame_rule!r}"))
        of_schedule = {"step": ("lr_decay",), "one_cycle": ("pct_start", "div_factor", "final_div_factor")}
        for schedule, names in of_schedule.items():
            if self.optim.schedule != schedule:
                reason = f"schedule = {self.optim.schedule!r}"
                idle += [(name, reason) for name in names if is_changed(self.optim, name)]
        if self.arm == "supervised" and is_changed(self.optim, "train_families"):
            idle.append(("train_families", "arm = 'supervised', which sees clean clips only"))
        if (
            self.arm == "contrastive"
            and self.optim.views == "tempo"
            and is_changed(self.optim, "train_families")
        ):
            idle.append(("train_families", "views = 'tempo', which are clean; views = 'both' are noisy too"))
        if self.uses_unlabelled and self.loss.pseudo_threshold == 1 and is_changed(self.loss, "pseudo_after"):
            idle.append(("pseudo_after", "pseudo_threshold = 1"))
        if not self.data.few_labels:
            of_few_labels = {"label_seed": self.data, "labelled_share": self.optim} | dict.fromkeys(
                ("pseudo_threshold", "pseudo_after"), self.loss
            )
            reason = "no label_fraction or labels_per_class"
            idle += [(name, reason) for name, part in of_few_labels.items() if is_changed(part, name)]
        if self.arm != "contrastive" and is_changed(self.optim, "views"):
            idle.append(("views", f"arm = {self.arm!r}"))
        if not self.optim.val_every and is_changed(self.optim, "val_alphas"):
            idle.append(("val_alphas", "val_every = 0"))
        micro, batch = self.optim.micro_batch, self.optim.batch_size
        if micro is not None and batch != "auto" and micro >= batch:
            idle.append(("micro_batch", f"batch_size = {self.optim.batch_size}"))
        if self.optim.compile == "on" and self.optim.micro_batch is not None:
            idle.append(("compile", f"micro_batch = {self.optim.micro_batch}"))
        if self.optim.compile == "on" and self.optim.checkpoint_activations:
            idle.append(("compile", "checkpoint_activations = True"))
        return [f"{name} has no effect with {reason}" for name, reason in idle]
