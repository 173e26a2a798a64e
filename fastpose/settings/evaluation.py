"""How the curve of accuracy over noise is measured."""

from dataclasses import dataclass

from fastpose.settings.checks import MOST_CLIPS, check, settle_families, settle_levels

ALPHA_GRID = (0.0, 0.001, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalConfig:
    """How the curve of accuracy over noise is measured."""

    alphas: tuple[float, ...] = ALPHA_GRID
    """Noise levels."""
    families: tuple[str, ...] = ("gaussian",)
    """Noise families to measure at every level, or all. The curve itself is of Gaussian noise."""
    num_clips: int = 1
    """Clips drawn from each video; their softmax scores are averaged."""
    flip_test: bool = False
    """Also score the mirrored clip."""
    eval_batch_size: int = 64
    """Clips × noise levels of a forward pass: all levels of a clip are scored together."""

    denoise: str = "off"
    """Filter noisy clips at the full frame rate first: off, sure, or a prior that `fastpose denoise --fit` wrote."""

    def __post_init__(self) -> None:
        settle_levels(self, "alphas")
        settle_families(self, "families")
        check(self, "at least 1, at most 10,000", lambda n: 1 <= n <= 10_000, "num_clips")
        check(self, f"at least 1, at most {MOST_CLIPS:,}", lambda n: 1 <= n <= MOST_CLIPS, "eval_batch_size")
