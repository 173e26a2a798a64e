import subprocess
import sys

import pytest

from fastpose.system.lock import LOCK, locked_folder

HOLD = """
import sys, time
from pathlib import Path
from fastpose.system.lock import locked_folder
with locked_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_process_at_a_time_and_none_after_its_death(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(ValueError, match=f"process {holder.pid} is at work in it"),
            locked_folder(tmp_path),
        ):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with locked_folder(tmp_path):
        assert (tmp_path / LOCK).read_text() != str(holder.pid)
        with pytest.raises(ValueError, match=str(tmp_path)), locked_folder(tmp_path):
            pass
    with locked_folder(tmp_path):
        pass
