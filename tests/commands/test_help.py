"""What commands say of themselves: one screen of help, groups of options, hints, completion."""

import dataclasses
import re
import subprocess
import sys
from typing import get_type_hints

import pytest
import tyro

from fastpose import __main__ as console
from fastpose import __version__
from fastpose._command import load_command, program_name

SCREEN_LINES, SCREEN_COLUMNS = 50, 100
WITH_OPTIONS = ["train", "sweep", "evaluate", "predict", "show", "export", "env"]
HELPS = [[name] for name in console.COMMANDS] + [
    [name, what] for name in ("pack", "report") for what in load_command(name).COMMANDS
]


def text_of(arguments, capsys, status=0):
    """The output of `fastpose …`, which ends by itself with ``status``, or by SystemExit."""
    try:
        ended = console.main(arguments)
    except SystemExit as stop:
        ended = stop.code or 0
    assert ended == status
    printed = capsys.readouterr()
    return printed.err if status else printed.out


@pytest.fixture(autouse=True)
def _screen(monkeypatch):
    monkeypatch.setenv("COLUMNS", str(SCREEN_COLUMNS))
    monkeypatch.setattr(sys, "argv", ["/usr/bin/fastpose"])


def flags_of(text):
    """The flags that a help names, "--[no-]flip" as --flip."""
    return set(re.findall(r"--[a-z][a-z0-9-]+", text.replace("[no-]", "")))


def flags_taken(kind):
    """The flags that tyro makes of a dataclass: of each field, and of the fields of dataclasses in it."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if dataclasses.is_dataclass(hint):
            yield from flags_taken(hint)
            continue
        notes = getattr(hint, "__metadata__", ())
        if tyro.conf.Positional not in notes:
            name = next((note.name for note in notes if getattr(note, "name", None)), name)
            yield "--" + name.replace("_", "-")


@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_help_fits_one_screen(arguments, capsys):
    lines = text_of([*arguments, "--help"], capsys).splitlines()
    assert 4 < len(lines) <= SCREEN_LINES
    assert max(map(len, lines)) <= SCREEN_COLUMNS
    assert lines[0].startswith(f"usage: fastpose {' '.join(arguments)}")


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_help_names_every_flag_that_there_is(name, capsys, monkeypatch):
    there_are = set(flags_taken(load_command(name).Arguments))
    monkeypatch.setenv("COLUMNS", "200")
    assert there_are <= flags_of(text_of([name, "--help"], capsys))
    everything = text_of([name, "--help-all"], capsys)
    heads = set(re.findall(r"^  --(?:\[no-\])?([a-z][a-z0-9-]+)", everything, re.M))
    assert heads == {flag.removeprefix("--") for flag in there_are}


def test_a_group_of_options_in_full(capsys):
    text = text_of(["train", "--help", "optim"], capsys)
    assert text.startswith("fastpose train, optim options: ")
    assert re.search(
        r"^  --weight-decay X +\(default: 0\.05\)$", text, re.M
    )  # that of the preset of a first run
    assert re.search(r"^  --\[no-\]joint-pass +[^-]* \(default: on\)$", text, re.M)
    assert "--gamma1" not in text
    assert text_of(["train", "--preset", "report", "--help", "optim"], capsys) != text


def test_an_unknown_group_names_the_nearest(capsys):
    error = text_of(["train", "--help", "optm"], capsys, status=2)
    assert error == "error: --help optm: no such group of options; did you mean 'optim'?\n"


@pytest.mark.parametrize(
    ("word", "hint"),
    [("trian", "did you mean 'train'?"), ("frobnicate", "expected one of train, evaluate, ")],
)
def test_unknown_commands(word, hint, capsys):
    error = text_of([word], capsys, status=2)
    assert error.startswith(f"error: unknown command '{word}'; {hint}")


def test_an_unknown_flag_gets_a_hint(capsys):
    error = text_of(["train", "--epoch", "3"], capsys, status=2)
    assert "Unrecognized options: --epoch" in error
    assert "--epochs" in error


@pytest.mark.parametrize(
    ("started", "name"),
    [
        ("/usr/bin/fastpose", "fastpose train"),
        ("/lib/fastpose/__main__.py", "python -m fastpose train"),
        ("/lib/fastpose/train.py", "python -m fastpose.train"),
    ],
)
def test_usage_has_the_name_that_was_called(started, name, monkeypatch):
    monkeypatch.setattr(sys, "argv", [started])
    assert program_name("train") == name


def test_modules_run_as_programs_without_importing_torch():
    code = """if True:
        import runpy, sys
        sys.argv = ["fastpose", "--help"]
        try:
            runpy.run_module("fastpose", run_name="__main__")
        except SystemExit:
            print("torch" in sys.modules, file=sys.stderr)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("usage: fastpose COMMAND")
    assert done.stderr.strip() == "False"
    for module in (["fastpose", "train"], ["fastpose.train"]):
        line = [sys.executable, "-m", *module, "--help"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert done.stdout.startswith(f"usage: python -m {' '.join(module)} [options]"), done.stderr


def test_version_and_bare_call(capsys):
    assert text_of(["--version"], capsys) == f"{__version__}\n"
    assert console.main([]) == 2
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in console.COMMANDS)


def test_completion_of_commands_and_flags(capsys, tmp_path):
    script = tmp_path / "completion.bash"
    script.write_text(text_of(["--tyro-print-completion", "bash"], capsys))
    tried = f"""source {script}
    try() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _tyro_fastpose; echo "${{COMPREPLY[*]}}"; }}
    try fastpose tr
    try fastpose train --ep
    try fastpose train --input ""
    try fastpose pack pen"""
    done = subprocess.run(["bash", "-c", tried], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["train", "--epochs", "skeleton heatmap grayscale limb", "penn-action"]
