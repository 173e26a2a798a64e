"""A prior of body motion on disk: safetensors, with the joints that it knows."""

import json
from pathlib import Path

import numpy as np

from fastpose.data.denoising.motion_prior import FREQUENCIES, MotionPrior
from fastpose.data.pack import packed_file
from fastpose.data.pack.layouts import Layout

FORMAT, VERSION = "fastpose motion prior", "1"


def write_prior(path: str | Path, prior: MotionPrior, layout: Layout) -> None:
    """Write both to ``path``, which is replaced at the end or not at all.

    Raises:
        OSError: the folder is missing or the disk is full.
    """
    arrays = {"mean": prior.mean, "directions": prior.directions, "variances": prior.variances}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    packed_file.write(path, arrays, {"layout": json.dumps(layout.to_json())}, (FORMAT, VERSION))


def read_prior(path: str | Path) -> tuple[MotionPrior, Layout]:
    """Read what ``write_prior`` wrote.

    Raises:
        ValueError: the file is damaged, of another kind or of another version; the text says how.
        OSError: the file cannot be opened.
    """
    from safetensors import SafetensorError, safe_open

    with open(path, "rb"):  # the library's own error does not say which file is missing
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            texts = file.metadata() or {}
            if texts.get("format") != FORMAT:
                raise ValueError(
                    "it holds something else; make one with `fastpose denoise --fit PACK --out PRIOR`"
                )
            if texts.get("version") != VERSION:
                raise ValueError(
                    f"it is of version {texts.get('version')!r}, this fastpose reads {VERSION!r}"
                )
            layout = Layout.from_json(json.loads(texts["layout"]))
            mean, directions, variances = (
                file.get_tensor(name) for name in ("mean", "directions", "variances")
            )
        _check(mean, directions, variances, layout)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a prior of body motion: {error}") from error
    return MotionPrior(mean, directions, variances), layout


def _check(mean: np.ndarray, directions: np.ndarray, variances: np.ndarray, layout: Layout) -> None:
    fits = (
        mean.ndim == 3
        and mean.shape[0] == layout.num_joints
        and mean.shape[1] in (2, 3)
        and mean.shape[2] == FREQUENCIES
        and directions.shape == (mean.size, len(variances))
        and variances.ndim == 1
    )
    if not fits:
        raise ValueError(
            f"arrays {mean.shape}, {directions.shape} and {variances.shape} do not fit {layout.name!r}"
        )
    for name, array in {"mean": mean, "directions": directions, "variances": variances}.items():
        if (
            array.dtype != np.float64
            or not np.isfinite(array).all()
            or (name == "variances" and not (array > 0).all())
        ):
            raise ValueError(f"{name} must be finite float64, and variances above 0")
