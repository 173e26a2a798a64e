"""Named settings: what each preset puts in place of the defaults, which are the report's."""

from typing import Any

from fastpose.settings.front_ends import FILTER
from fastpose.settings.run import Arm

# Beyond the report: a front end that filters noise, noise levels drawn per clip, cross-entropy on both views, and
# the supervised contrastive loss in place of the instance and group losses.
ROBUST_LOSS = {
    "gamma1": 0.0,
    "gamma2": 0.0,
    "supcon_weight": 1.0,
    "label_smoothing": 0.1,
    "ce_views": "both",
}
ROBUST_OPTIM = {
    "batch_size": 64,
    "lr": 1.5e-3,
    "weight_decay": 0.05,
    "schedule": "cosine",
    "warmup_epochs": 2.0,
    "ema": 0.998,
    "joint_pass": True,
}

# The published learning rates and schedule of MotionBERT's action recognition.
MOTIONBERT_OPTIM = {"lr": 1e-4, "head_lr": 1e-3, "schedule": "step", "lr_decay": 0.99}

# The report's values are the defaults. A bare `fastpose train` is a first run; one with data is a robust one.
FIRST_RUN, OWN_DATA, REPORT = "first-run", "robust", "report"
PRESET_ARMS: dict[str, tuple[Arm, ...]] = {
    "first-run": ("supervised", "contrastive"),
    "robust": ("supervised", "augmented", "contrastive"),
    "dct_mlp": ("augmented",),
    "motionbert-published": ("supervised",),
}
PRESETS: dict[str, dict[str, Any]] = {
    "report": {},
    "pyskl-test": {
        "data": {"sampling": {"clip_len": 48, "size": (64, 64)}},
        "eval": {"num_clips": 10, "flip_test": True},
    },
    "reference-code": {
        "model": {"normalize": False, "duplicate_person": True},
        "loss": {
            "temperature": 0.5,
            "symmetric": True,
            "detach_clean": True,
            "representation": "softmax",
            "group_labels": "pseudo",
        },
        "optim": {"share_clean": False},
    },
    "robust": {
        "data": {"sampling": FILTER},
        "loss": ROBUST_LOSS,
        "optim": {**ROBUST_OPTIM, "epochs": 100, "alpha": "0:0.3"},
    },
    "first-run": {
        "data": {"sampling": FILTER},
        "model": {"model": "dct_mlp"},
        "loss": ROBUST_LOSS,
        "optim": {**ROBUST_OPTIM, "epochs": 24, "ema": 0.99, "alpha": "0:0.1"},
    },
    "dct_mlp": {
        "data": {"sampling": FILTER},
        "model": {"model": "dct_mlp"},
        "loss": {"ce_views": "both", "label_smoothing": 0.1},
        "optim": {
            "epochs": 40,
            "lr": 2e-3,
            "weight_decay": 0.05,
            "schedule": "cosine",
            "ema": 0.98,
            "joint_pass": True,
            "alpha": "0:0.3",
        },
    },
    "motionbert": {"model": {"model": "motionbert"}, "optim": MOTIONBERT_OPTIM},
    "motionbert-published": {
        "data": {
            "sampling": {
                "clip_len": 243,
                "frame_rule": "resample",
                "crop": "frame",
                "flip_probability": 0.0,
                "max_persons": 2,
            }
        },
        "model": {"model": "motionbert", "published": True},
        "optim": {**MOTIONBERT_OPTIM, "epochs": 300},
    },
}
