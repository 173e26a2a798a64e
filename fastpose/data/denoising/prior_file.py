"""A prior of body motion on disk, or inside another file: safetensors, with the joints that it knows."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from fastpose.data.denoising.motion_prior import FREQUENCIES, MotionPrior
from fastpose.data.pack import packed_file
from fastpose.data.pack.layouts import Layout
from fastpose.settings.json_text import parse_json
from fastpose.system.tensor_file import (
    DamagedFileError,
    check_arrays,
    check_header,
    check_header_bytes,
    checksum_texts,
    sealed_bytes,
)

FORMAT, VERSION = "fastpose motion prior", "1"


def write_prior(path: str | Path, prior: MotionPrior, layout: Layout) -> None:
    """Write both to ``path``, which is replaced at the end or not at all.

    Raises:
        OSError: the folder is missing or the disk is full.
    """
    packed_file.write(path, *_content(prior, layout), (FORMAT, VERSION))


def prior_to_bytes(prior: MotionPrior, layout: Layout) -> bytes:
    """Return what ``write_prior`` writes."""
    from safetensors.numpy import save

    arrays, texts = _content(prior, layout)
    metadata = {"format": FORMAT, "version": VERSION, **texts, **checksum_texts(arrays)}
    return sealed_bytes(save(arrays, metadata=metadata))


def read_prior(path: str | Path) -> tuple[MotionPrior, Layout]:
    """Read what ``write_prior`` wrote.

    Raises:
        ValueError: the file is damaged, of another kind or of another version; the text says how.
        OSError: the file cannot be opened.
    """
    return _checked(Path(path))[0]


def verify_prior(path: str | Path) -> bool:
    """Read a prior as ``read_prior`` does, and return whether it has checksums; files from before have none."""
    return _checked(Path(path))[1]


def _checked(path: Path) -> tuple[tuple[MotionPrior, Layout], bool]:
    from safetensors import SafetensorError, safe_open

    with open(path, "rb"):  # the library's own error does not say which file is missing
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            texts = file.metadata() or {}
            found = _parsed(texts, file.get_tensor)
            check_header(path)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return found, check_arrays(texts, arrays, path)
    except DamagedFileError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a prior of body motion: {error}") from error


def prior_from_bytes(content: bytes) -> tuple[MotionPrior, Layout]:
    """Read what ``prior_to_bytes`` returned.

    Raises:
        ValueError: it is damaged, of another kind or of another version; the text says how.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
        end = 8 + int.from_bytes(content[:8], "little")
        texts = parse_json(content[8:end]).get("__metadata__", {})
        found = _parsed(texts, arrays.__getitem__)
        check_header_bytes(content[:8], content[8:end], "the prior")
        check_arrays(texts, arrays, "the prior")
        return found
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a prior of body motion: {error}") from error


def _content(prior: MotionPrior, layout: Layout) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    arrays = {"mean": prior.mean, "directions": prior.directions, "variances": prior.variances}
    texts = {"layout": json.dumps(layout.to_json())}
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}, texts


def _parsed(texts: Mapping[str, str], array: Callable[[str], np.ndarray]) -> tuple[MotionPrior, Layout]:
    """Return the prior of a file's metadata and arrays by name; ValueError or KeyError where they are no such."""
    if texts.get("format") != FORMAT:
        raise ValueError("it holds something else; make one with `fastpose denoise --fit PACK --out PRIOR`")
    if texts.get("version") != VERSION:
        raise ValueError(f"it is of version {texts.get('version')!r:.40}, this fastpose reads {VERSION!r}")
    layout = Layout.from_json(parse_json(texts["layout"]))
    mean, directions, variances = map(array, ("mean", "directions", "variances"))
    _check(mean, directions, variances, layout)
    return MotionPrior(mean, directions, variances), layout


def _check(mean: np.ndarray, directions: np.ndarray, variances: np.ndarray, layout: Layout) -> None:
    fits = (
        mean.ndim == 3
        and mean.shape[0] == layout.num_joints
        and mean.shape[1] in (2, 3)
        and mean.shape[2] == FREQUENCIES
        and variances.ndim == 1
        and 0 < len(variances) <= mean.size
        and directions.shape == (mean.size, len(variances))
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
