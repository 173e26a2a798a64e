"""What a user may choose: settings of an experiment, named presets, and files of them."""

from fastpose.settings.data import DataConfig
from fastpose.settings.evaluation import ALPHA_GRID, EvalConfig
from fastpose.settings.loss import LossConfig
from fastpose.settings.model import CheckpointConfig, ModelConfig
from fastpose.settings.optim import OptimConfig
from fastpose.settings.run import Arm, RunConfig
from fastpose.settings.sampling import SamplingConfig

__all__ = [
    "ALPHA_GRID",
    "Arm",
    "CheckpointConfig",
    "DataConfig",
    "EvalConfig",
    "LossConfig",
    "ModelConfig",
    "OptimConfig",
    "RunConfig",
    "SamplingConfig",
]
