"""Which clips a run trains on and is measured on, and how they are sampled."""

from dataclasses import dataclass, field
from typing import Literal

from fastpose.settings.checks import MOST_CLIPS, check, check_words, require
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
    label_fraction: float = 1.0
    """Share of the training clips whose labels are used, of every class; the others are unlabelled."""
    labels_per_class: int | None = None
    """The same as a number of clips of each class."""
    label_seed: int | None = None
    """Draws which clips those are; by default the seed of the run."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        check_words(self)
        check(self, f"0 or more clips, at most {MOST_CLIPS:,}", lambda n: 0 <= n <= MOST_CLIPS, "val_clips")
        check(
            self,
            f"at least 1 clip, or none for all (at most {MOST_CLIPS:,})",
            lambda n: n is None or 1 <= n <= MOST_CLIPS,
            "limit",
            "labels_per_class",
        )
        check(self, "0 < share ≤ 1", lambda x: 0 < x <= 1, "label_fraction")
        check(self, "a seed from 0 to 2^63 - 1", lambda n: n is None or 0 <= n < 2**63, "label_seed")
        require(
            self.label_fraction == 1 or self.labels_per_class is None,
            f"label_fraction = {self.label_fraction:g}, labels_per_class = {self.labels_per_class}: expected one of "
            "them",
        )
        require(
            self.test_on == "test" or self.val_clips > 0,
            "test_on = 'val': expected val_clips > 0, so that there are clips to measure on",
        )

    @property
    def few_labels(self) -> bool:
        """Whether labels of some training clips are put aside."""
        return self.label_fraction < 1 or self.labels_per_class is not None
