import errno
import os

import pytest

from fastpose.system.files import atomic_path, write_text


def test_a_failure_leaves_the_old_file(tmp_path):
    target = tmp_path / "result.txt"
    write_text(target, "old")
    with pytest.raises(OSError), atomic_path(target) as partial:
        partial.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.txt"]


def test_success_replaces_the_file(tmp_path):
    target = tmp_path / "result.txt"
    for text in ("one", "zwei – 2"):
        write_text(target, text)
        assert target.read_text(encoding="utf-8") == text
    assert os.listdir(tmp_path) == ["result.txt"]


def test_permissions_follow_the_umask(tmp_path):
    target = tmp_path / "result.txt"
    with atomic_path(target) as partial:
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))
    (tmp_path / "plain").touch()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
