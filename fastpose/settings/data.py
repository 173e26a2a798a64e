"""Which clips a run trains on and is measured on, and how they are sampled."""

from dataclasses import dataclass, field
from typing import Literal

from fastpose.settings.checks import check, check_words, require
from fastpose.settings.sampling import SamplingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Clips and how they are sampled: frames, crop, flip."""

    data: str = "synthetic"
    """File of `fastpose pack`, or "synthetic" (built in)."""
    train_split: str = "auto"
    """Split to train on; auto takes xsub_train or train."""
    test_split: str = "auto"
    """Split to report on; auto takes xsub_val, test or val."""
    val_clips: int = 0
    """Clips held out of the training split, neighbours of each class, to make choices on; 0 trains on all."""
    test_on: Literal["test", "val"] = "test"
    """Where the final curve is measured: the test split, or the held-out clips while making choices."""
    limit: int | None = None
    """Use only this many clips of each split."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        check_words(self)
        check(self, "0 or more clips", lambda n: n >= 0, "val_clips")
        check(self, "at least 1 clip, or none for all", lambda n: n is None or n >= 1, "limit")
        require(
            self.test_on == "test" or self.val_clips > 0,
            "test_on = 'val': expected val_clips > 0, so that there are clips to measure on",
        )
