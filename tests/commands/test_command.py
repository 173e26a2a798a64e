import errno
import os
import warnings

import pytest

from fastpose._command import Command


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
    with Command() as command:
        command.interrupted = "come back later"
        raise error
    assert command.status == status
    assert capsys.readouterr().err.strip() == line


def test_warnings_are_one_line():
    usual = warnings.formatwarning
    with Command():
        assert (
            warnings.formatwarning(UserWarning("mind this"), UserWarning, "x.py", 3) == "warning: mind this\n"
        )
        of_code = (DeprecationWarning("old"), DeprecationWarning, "x.py", 3, "")
        assert warnings.formatwarning(*of_code) == usual(*of_code)
    assert warnings.formatwarning is usual


def test_the_status_is_what_the_body_sets_and_a_fault_keeps_its_traceback(capsys):
    with Command() as command:
        pass
    assert command.status == 0
    with Command() as command:
        command.status = 1
    assert command.status == 1
    assert capsys.readouterr() == ("", "")
    with pytest.raises(ZeroDivisionError), Command():
        raise ZeroDivisionError
