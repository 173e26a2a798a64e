"""The families of noise that one severity α drives, in the order of the numbers that native code knows them by."""

from collections.abc import Sequence

FAMILY_MEANINGS = {
    "gaussian": "every joint displaced in every frame, Gaussian of deviation σ",
    "laplace": "the same with heavier tails: Laplace of the same variance",
    "uniform": "the same without tails: uniform of the same variance",
    "student": "the same with tails heavier still: Student's t of 3 degrees of freedom and the same variance",
    "drift": "Gaussian of the same variance that wanders: 0.9 correlated from each frame to the next",
    "outliers": "a tenth of the joints displaced, by √10·σ: the same variance overall",
    "dropout": "joints missing at random, a share 2α",
    "occlusion": "one limb of each person missing for a share 2α of the frames, in one block",
    "swap": "left and right exchanged at random, in a share α of the frames",
    "drop_uniform": "a share 2α of the frames left out, evenly",
    "drop_random": "a share 2α of the frames left out, at random",
    "drop_block": "a share 2α of the frames left out, in one block",
    "scores": "scores lowered at random by up to a share 2α",
}
FAMILIES: tuple[str, ...] = tuple(FAMILY_MEANINGS)


def check_families(names: Sequence[str]) -> tuple[str, ...]:
    """Return ``names`` as a tuple; a ValueError says what is wrong unless they are distinct members of ``FAMILIES``."""
    found = (names,) if isinstance(names, str) else tuple(names)
    for name in found:
        if name not in FAMILIES:
            raise ValueError(f"no noise family {name!r}; there are: {', '.join(FAMILIES)}")
        if found.count(name) > 1:
            raise ValueError(f"noise family {name!r} is named twice")
    if not found:
        raise ValueError(f"expected one noise family or more of: {', '.join(FAMILIES)}")
    return found
