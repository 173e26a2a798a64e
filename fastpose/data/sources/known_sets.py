"""Data sets that are recognised by their files, packed without being told what they are."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fastpose.data.pack.packed import PackedClips
from fastpose.data.sources.pack_log import PackLog, pack_to_file
from fastpose.data.synthetic.builtin import BUILT_IN
from fastpose.settings.json_text import read_json
from fastpose.system.files import check_output_folder, write_text

NTU_LAYOUT = "coco17"  # of the report's networks, which see 17 joints
PICKLES = (".pkl", ".pickle")
EXPECTED = (
    "expected a packed file, or what fastpose knows by its files: a pickle of PYSKL, a folder of NTU's .skeleton "
    "files, or of Penn Action; fastpose pack takes others"
)


def packed_path(data: str, folder: Path, echo: Callable[[str], object] = print) -> str:
    """Return the packed file of ``data``: its own where it is packed, else one made in ``folder``, once.

    Args:
        data: a packed file, "synthetic", PYSKL's pickle, or the folder of NTU RGB+D's or Penn Action's files.
        folder: for the packed file, which is named after ``data``.
        echo: is told what was packed.

    Raises:
        ValueError: it is nothing of the kind, or cannot be read; or the packed file that is there is of other data.
    """
    source = Path(data)
    if data == BUILT_IN or (source.is_file() and source.suffix not in PICKLES):
        return data
    if not source.exists():
        raise ValueError(f"--data {data}: no such file or folder; {EXPECTED}")
    target = folder / f"{source.resolve().stem}.safetensors"
    record, facts = target.with_suffix(".source.json"), _facts(source)
    if not target.exists():
        read = _reader(source)
        check_output_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        echo(pack_to_file(target, read, source, progress=True).text)
        write_text(record, json.dumps(facts, indent=2) + "\n")
    elif _recorded(record) != facts:
        raise ValueError(
            f"{target}: is not, or no longer, what --data {data} holds (see {record}); name another --out, or delete it"
        )
    return str(target)


def _facts(source: Path) -> dict[str, object]:
    """Return what tells one data set from another, and from itself after a change."""
    files = [path for path in source.rglob("*") if path.is_file()] if source.is_dir() else [source]
    sizes = [path.stat().st_size for path in files]
    return {"source": str(source.resolve()), "files": len(files), "bytes": sum(sizes)}


def _recorded(record: Path) -> object:
    try:
        return read_json(record)
    except ValueError:
        return None


def _reader(source: Path) -> Callable[..., tuple[PackedClips, PackLog]]:
    if source.is_file():
        from fastpose.data.sources.pyskl import pack_pyskl

        return pack_pyskl
    if next(source.rglob("*.skeleton"), None) is not None:
        from fastpose.data.sources.ntu import pack_ntu

        return partial(pack_ntu, layout=NTU_LAYOUT)
    if next(source.rglob("*.mat"), None) is not None:
        from fastpose.data.sources.penn_action import pack_penn_action

        return pack_penn_action
    raise ValueError(f"--data {source}: {EXPECTED}")
