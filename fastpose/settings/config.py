"""Settings of an experiment: dataclasses that check themselves."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Arm = Literal["supervised", "augmented", "contrastive"]
ALPHA_GRID = (0.0, 0.001, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1)


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _check(config: Any, expected: str, holds: Callable[[Any], bool], *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        require(holds(value), f"{name} = {value!r}: expected {expected}")


def _check_levels(config: Any, name: str) -> None:
    _check(config, "one noise level or more", len, name)
    _check(config, "noise levels ≥ 0", lambda grid: all(0 <= a < math.inf for a in grid), name)


def _is_changed(config: Any, name: str) -> bool:
    return getattr(config, name) != getattr(type(config)(), name)


def parse_alpha(text: str) -> tuple[float, float]:
    """Read a noise level "0.025", or a range "0:0.2" from which each clip draws its own, as (low, high)."""
    parts = str(text).split(":")
    try:
        low, high = float(parts[0]), float(parts[-1])
    except ValueError:
        low = high = math.nan
    require(
        len(parts) <= 2 and 0 <= low <= high < math.inf,
        f"alpha = {text!r}: expected a number ≥ 0 such as 0.025, or a range such as 0:0.2",
    )
    return low, high


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Clips and how they are sampled: frames, crop, flip."""

    data: str = "synthetic"
    """Packed file made by `python -m fastpose.pack`, or "synthetic" for the built-in set."""
    train_split: str = "auto"
    """Split to train on; auto takes xsub_train or train."""
    test_split: str = "auto"
    """Split to report on; auto takes xsub_val, test or val."""
    val_clips: int = 0
    """Clips held out of the training split, stratified by class, to make choices on; 0 trains on all."""
    test_on: Literal["test", "val"] = "test"
    """Where the final curve is measured: the test split, or the held-out clips while making choices."""
    limit: int | None = None
    """Use only this many clips of each split."""
    clip_len: int = 24
    """Frames sampled from each clip."""
    size: tuple[int, int] = (56, 56)
    """Input height and width in pixels."""
    frame_rule: Literal["segments", "resample"] = "segments"
    """segments: the rule of PYSKL and MMAction2; resample: MotionBERT's, which repeats frames of short clips."""
    crop: Literal["box", "frame"] = "box"
    """box: a square round the joints, in training a random part of it; frame: the whole frame."""
    max_persons: int | None = None
    """Persons of each clip, the first ones; none for as many as any clip of the data has."""
    crop_padding: float = 1.25
    """Side of the square crop over the larger side of the box of joints."""
    min_box: float = 10.0
    """Larger side in pixels below which the box of joints gives way to the whole frame."""
    crop_area: tuple[float, float] = (0.56, 1.0)
    """Range of the area of the random resized crop."""
    crop_aspect: tuple[float, float] = (0.75, 4 / 3)
    """Range of its aspect ratio, drawn log-uniformly."""
    flip_probability: float = 0.5
    """Probability of a left/right flip in training."""

    def __post_init__(self) -> None:
        _check(self, "at least 1", lambda n: n >= 1, "clip_len")
        _check(self, "a height and a width of at least 1 pixel", lambda size: min(size) >= 1, "size")
        _check(self, "0 or more clips", lambda n: n >= 0, "val_clips")
        _check(self, "at least 1 clip, or none for all", lambda n: n is None or n >= 1, "limit")
        _check(self, "a number from 0 to 1", lambda p: 0 <= p <= 1, "flip_probability")
        _check(self, "at least 1 person, or none for all", lambda n: n is None or n >= 1, "max_persons")
        _check(self, "a number ≥ 1", lambda x: 1 <= x < math.inf, "crop_padding", "min_box")
        _check(self, "0 < low ≤ high ≤ 1", lambda r: 0 < r[0] <= r[1] <= 1, "crop_area")
        _check(self, "0 < low ≤ high", lambda r: 0 < r[0] <= r[1] < math.inf, "crop_aspect")
        require(
            self.test_on == "test" or self.val_clips > 0,
            "test_on = 'val': expected val_clips > 0, so that there are clips to measure on",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Backbone and its input."""

    model: str = "posec3d"
    """posec3d, posec3d_k400, c3d_light, x3d_shallow, motionbert or motionbert_lite."""
    input: Literal["skeleton", "heatmap", "grayscale", "limb"] = "skeleton"
    """What the backbone sees."""
    dropout: float = 0.5
    """Dropout before the classifier."""
    score_channel: bool = False
    """Skeleton input: give each joint's score beside its coordinates."""
    normalize: bool = True
    """Skeleton input: coordinates to [-1, 1]; off feeds raw pixels, as the report's code does."""
    duplicate_person: bool = False
    """Skeleton input: copy a lone person into the second slot, as the report's code does."""
    sigma: float = 0.6
    """Standard deviation of the heatmaps' Gaussians in pixels."""
    joint_merge: Literal["sum", "max"] = "sum"
    """Grayscale input: how joints are merged."""
    heatmaps: Literal["implicit", "explicit"] = "implicit"
    """Other inputs than skeletons: implicit computes the first convolution from the keypoints, explicit draws them."""
    joints: Literal["h36m17", "own"] = "h36m17"
    """MotionBERT: its own joints, made from the data's; own: the data's, to train from scratch."""
    published: bool = False
    """MotionBERT: make joints as its published code does, faults included: what published weights expect."""
    init: str | None = None
    """Checkpoint, or folder of a finished run, to fine-tune from; a head of other classes is made anew."""

    def __post_init__(self) -> None:
        _check(self, "0 ≤ dropout < 1", lambda p: 0 <= p < 1, "dropout")
        _check(self, "a positive number of pixels", lambda x: 0 < x < math.inf, "sigma")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Terms of the loss: L = L_ce + gamma1 L_inst + gamma2 L_gr + supcon_weight L_sup."""

    gamma1: float = 1.0
    """Weight of the instance contrastive loss."""
    gamma2: float = 0.3
    """Weight of the group contrastive loss."""
    sup_thresh: int = 0
    """Epochs of purely supervised training at the start."""
    temperature: float = 1.0
    """Temperature of the instance and group losses."""
    symmetric: bool = False
    """Contrast over all 2N anchors, as the report's code does, instead of over the clean ones."""
    detach_clean: bool = False
    """No gradient into the clean view from the contrastive losses."""
    representation: Literal["features", "logits", "softmax"] = "features"
    """What is contrasted."""
    group_labels: Literal["true", "pseudo"] = "true"
    """Classes of the group loss: the labels, or each view's own prediction."""
    supcon_weight: float = 0.0
    """Weight of the supervised contrastive loss (Khosla et al. 2020) over both views."""
    supcon_temperature: float = 0.1
    """Its temperature."""
    contrast_precision: Literal["auto", "bf16", "tf32", "fp32"] = "auto"
    """Products of the instance and supervised contrastive losses on CUDA; auto: bf16 where training is in bf16."""
    label_smoothing: float = 0.0
    """Smoothing of the cross-entropy's targets."""
    ce_views: Literal["clean", "noisy", "both"] = "clean"
    """Views under the cross-entropy in the contrastive arm (the augmented arm: noisy, or both)."""

    def __post_init__(self) -> None:
        weights = ("gamma1", "gamma2", "supcon_weight")
        _check(self, "a weight ≥ 0", lambda x: 0 <= x < math.inf, *weights)
        _check(self, "a number > 0", lambda x: 0 < x < math.inf, "temperature", "supcon_temperature")
        _check(self, "0 ≤ smoothing < 1", lambda x: 0 <= x < 1, "label_smoothing")
        _check(self, "0 or more epochs", lambda n: n >= 0, "sup_thresh")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """Training; the defaults are the report's."""

    epochs: int = 150
    batch_size: int | Literal["auto"] = 32
    """Clips of a step; auto: the largest power of two that fits in memory. The learning rate is not scaled with it."""
    micro_batch: int | None = None
    """Most clips that pass through the model together, to the gradient of the whole batch; batch-norm statistics
    are those of each micro-batch. None for the whole batch."""
    checkpoint_activations: bool = False
    """Compute activations a second time in the backward pass instead of keeping them: slower, in less memory."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile of passes and loss; auto: on CUDA. Not with micro_batch or checkpoint_activations."""
    cuda_graph: Literal["auto", "off"] = "auto"
    """auto: on CUDA a step is one CUDA graph. Not with micro_batch or checkpoint_activations."""
    lr: float = 1e-3
    head_lr: float | None = None
    """Learning rate of the classifier, where it is another."""
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
    """Noise level of the noisy view, or a range such as 0:0.2 from which each clip draws its own."""
    share_clean: bool = True
    """One clean batch, and one forward pass, for the supervised and the contrastive clean stream."""
    joint_pass: bool = False
    """Clean and noisy views in one forward pass, with common batch statistics."""
    val_every: int = 0
    """Epochs from one validation on the held-out clips to the next (and one after the last); 0 for none."""
    val_alphas: tuple[float, ...] = (0.0, 0.02)
    """Noise levels of a validation, of one sampling of each clip; their mean top-1 is what patience looks at."""
    patience: int = 0
    """End training after this many validations in a row without a better one, at its weights; 0 for never."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bf16 on GPUs and on CPUs with bf16 instructions, else fp32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = None
    """CPU threads for torch; all by default."""

    def __post_init__(self) -> None:
        parse_alpha(self.alpha)
        _check(self, "at least 1", lambda n: n >= 1, "epochs")
        _check(self, "at least 1, or auto", lambda n: n == "auto" or n >= 1, "batch_size")
        _check(self, "at least 1, or none for a whole batch", lambda n: n is None or n >= 1, "micro_batch")
        require(
            self.micro_batch is None or self.batch_size != "auto",
            f"batch_size = 'auto': expected no micro_batch, with which any batch fits, got {self.micro_batch}",
        )
        _check(self, "a number > 0", lambda x: 0 < x < math.inf, "lr", "grad_clip")
        _check(self, "a number > 0, or none for lr", lambda x: x is None or 0 < x < math.inf, "head_lr")
        _check(self, "0 < factor ≤ 1", lambda x: 0 < x <= 1, "lr_decay")
        _check(self, "0 < share < 1", lambda x: 0 < x < 1, "pct_start")
        _check(self, "a number ≥ 1", lambda x: 1 <= x < math.inf, "div_factor", "final_div_factor")
        _check(self, "a number ≥ 0", lambda x: 0 <= x < math.inf, "weight_decay")
        _check(self, "0 ≤ ema < 1", lambda x: 0 <= x < 1, "ema")
        _check(self, "0 to the number of epochs", lambda n: 0 <= n <= self.epochs, "warmup_epochs")
        _check(self, "at least 1, or none for all", lambda n: n is None or n >= 1, "threads")
        _check(self, "0 or more", lambda n: n >= 0, "val_every", "patience")
        _check_levels(self, "val_alphas")
        require(
            self.patience == 0 or self.val_every > 0,
            f"patience = {self.patience}: expected val_every > 0, so that there are validations to compare",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalConfig:
    """How the curve of accuracy over noise is measured."""

    alphas: tuple[float, ...] = ALPHA_GRID
    """Noise levels."""
    num_clips: int = 1
    """Clips drawn from each video; their softmax scores are averaged."""
    flip_test: bool = False
    """Also score the mirrored clip."""
    eval_batch_size: int = 64
    """Clips × noise levels of a forward pass: all levels of a clip are scored together."""

    def __post_init__(self) -> None:
        _check_levels(self, "alphas")
        _check(self, "at least 1", lambda n: n >= 1, "num_clips", "eval_batch_size")


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
        _check(self, "a seed from 0 to 2^63 - 1", lambda n: 0 <= n < 2**63, "seed")
        require(
            not self.model.published or self.data.crop == "frame",
            "published = True: expected crop = 'frame', as the preset motionbert-published has",
        )
        require(
            not self.optim.val_every or self.data.val_clips > 0,
            f"val_every = {self.optim.val_every}: expected val_clips > 0, so that there are clips to validate on",
        )

    def idle_settings(self) -> list[str]:
        """Changed settings that another setting keeps from having any effect, each as a sentence."""
        idle = []
        if self.data.crop == "frame":
            names, reason = ("crop_padding", "min_box", "crop_area", "crop_aspect"), "crop = 'frame'"
            idle += [(name, reason) for name in names if _is_changed(self.data, name)]
        of_schedule = {"step": ("lr_decay",), "one_cycle": ("pct_start", "div_factor", "final_div_factor")}
        for schedule, names in of_schedule.items():
            if self.optim.schedule != schedule:
                reason = f"schedule = {self.optim.schedule!r}"
                idle += [(name, reason) for name in names if _is_changed(self.optim, name)]
        if not self.optim.val_every and _is_changed(self.optim, "val_alphas"):
            idle.append(("val_alphas", "val_every = 0"))
        if self.optim.micro_batch is not None and self.optim.micro_batch >= self.optim.batch_size:
            idle.append(("micro_batch", f"batch_size = {self.optim.batch_size}"))
        if self.optim.compile == "on" and self.optim.micro_batch is not None:
            idle.append(("compile", f"micro_batch = {self.optim.micro_batch}"))
        if self.optim.compile == "on" and self.optim.checkpoint_activations:
            idle.append(("compile", "checkpoint_activations = True"))
        return [f"{name} has no effect with {reason}" for name, reason in idle]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointConfig:
    """What a checkpoint of others is; fastpose's own runs say that themselves."""

    model: str | None = None
    """Its name in the model registry, such as posec3d."""
    input: str | None = None
    """skeleton, heatmap, grayscale or limb; by default what --preset says."""
    preset: str | None = None
    """Settings of network and sampling, such as pyskl-test; by default report, of MotionBERT motionbert-published."""
    model_layout: str | None = None
    """Joints that it takes; by default those of --layout, else coco17."""
    class_names: Path | None = None
    """Text file of class names, one a line; by default they are numbered."""
    max_persons: int = 2
    """Persons that it takes."""
