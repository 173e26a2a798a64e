import errno
import os

import pytest

from fastpose._command import run_command


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("size = 0: expected more"), 2, "error: size = 0: expected more"),
        (OSError("no space"), 2, "error: no space"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.json"), 2, "error: a.json: No such file"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 2, "error: [Errno 28] No space left on device"),
        (KeyboardInterrupt(), 130, "come back later"),
    ],
)
def test_what_a_user_can_mend_is_one_line(error, status, line, capsys):
    def run():
        raise error

    assert run_command(run, interrupted="come back later") == status
    assert capsys.readouterr().err.strip() == line


def test_the_status_is_what_the_command_returns_and_a_fault_keeps_its_traceback(capsys):
    assert run_command(lambda: None) == 0
    assert run_command(lambda: 1) == 1
    assert capsys.readouterr() == ("", "")
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 / 0)
