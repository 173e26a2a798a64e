"""The shared oracles and real data that some tests need."""

import os
from pathlib import Path

from support.needs import miss


def shared_folder() -> Path:
    """The folder of oracles and real data; skips where it is absent, fails if it is required."""
    folder = Path(os.environ.get("FASTPOSE_SHARED", "../shared")).resolve()
    if not (folder / "oracles").is_dir():
        message = f"no oracles in {folder}: set FASTPOSE_SHARED to the folder of oracles and real data"
        miss(message, required=os.environ.get("FASTPOSE_REQUIRE_SHARED") == "1")
    return folder
