import errno
import os
import tempfile

import pytest

from fastpose.system.files import atomic_path, check_output_folder, check_target, write_text


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


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("encoder error -2"), r"writing failed \(encoder error -2\)"),
    ],
    ids=["of the system", "of a library"],
)
def test_an_error_names_the_file_and_not_what_stands_beside_it(tmp_path, error, said):
    with pytest.raises(OSError, match=said) as caught, atomic_path(tmp_path / "result.txt"):
        raise error
    assert caught.value.filename == str(tmp_path / "result.txt")
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "absent" / "result.txt"):
        pass
    assert caught.value.filename == str(tmp_path / "absent" / "result.txt")
    with pytest.raises(OSError, match="other") as caught, atomic_path(tmp_path / "result.txt"):
        raise OSError(errno.EIO, "reading failed", "other")
    assert caught.value.filename == "other"


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path):
    """A limit on the size of files stands for it: what cannot grow any more."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_text(tmp_path / "result.txt", "x" * 100_000)
        check_target(tmp_path / "result.txt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.filename == str(tmp_path / "result.txt")
    assert os.listdir(tmp_path) == []


def test_a_renamed_file_is_on_the_disk_with_its_folder(tmp_path, monkeypatch):
    done = []
    replace, fsync = os.replace, os.fsync

    def noted_fsync(handle):
        done.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("renamed"), replace(*paths)))
    write_text(tmp_path / "result.txt", "new")
    assert done == [str(tmp_path / f".result.txt.{os.getpid()}.partial"), "renamed", str(tmp_path)]


def test_outputs_that_cannot_be_written_are_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for folder in ("file", "file/inner"):
        with pytest.raises(NotADirectoryError, match="the output must be a folder, not a file"):
            check_output_folder(tmp_path / folder)
    check_output_folder(tmp_path / "new" / "inner")
    check_target(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]

    def refused(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    for check, path in ((check_target, tmp_path / "new.txt"), (check_output_folder, tmp_path / "new")):
        with pytest.raises(OSError, match=r"cannot be written \(Read-only file system\)") as caught:
            check(path)
        assert caught.value.filename == str(path)
