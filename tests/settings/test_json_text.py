"""JSON that says one thing, and takes no more memory than it is worth."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpose.settings import files
from fastpose.settings.json_text import FREE_COST, check_cost, parse_json, read_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_what_json_writes_is_read(value):
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": {"lr": 1, "lr": 2}}', "the name 'lr' is given twice"),
        ("[NaN]", "NaN is no number"),
        ("-Infinity", "-Infinity is no number"),
        ("[" * 100_000 + "]" * 100_000, "nested too deep"),
        ("1" * 5000, "digits"),
        ("{", "line 1 column 2"),
    ],
)
def test_what_json_must_not_hold(text, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        parse_json(text)
    (tmp_path / "config.json").write_text(text)
    for read in (read_json, files.read_values):
        with pytest.raises(ValueError, match=rf"config\.json: not a JSON file \(.*{reason}"):
            read(tmp_path / "config.json")


@pytest.mark.parametrize("item", ["[],", "{},", '{"a":1},', '"b",'])
def test_values_of_few_letters_may_not_fill_the_memory(item):
    short, long = item * 1000, item * (FREE_COST // 20)
    check_cost(f"[{short}0]".encode())
    with pytest.raises(ValueError, match="for what is no number"):
        check_cost(f"[{long}0]".encode())


def test_numbers_of_any_number_are_fine():
    check_cost(b"[" + b"1234.5," * 10_000_000 + b"0]")
    for pair in (b"[123.456787109375, 234.567901611328, 0.98765432834],", b"[123, 456], ", b"[12,34],"):
        check_cost(b"[" + pair * (200_000_000 // len(pair)) + b"0]")
    landmark = b'{"x": 0.12345678, "y": 0.23456789, "z": -0.0123456, "visibility": 0.99876543}, '
    check_cost(b"[" + landmark * 2_000_000 + b"0]")


def test_files_that_are_no_files(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.json: cannot be read \(No such file"):
        read_json(tmp_path / "absent.json")
    with pytest.raises(ValueError, match=r"cannot be read \(Is a directory\)"):
        read_json(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(ValueError, match="no ordinary file"):
        read_json(tmp_path / "pipe.json")
    with open(tmp_path / "large.json", "wb") as file:
        file.truncate(2**27)
    with pytest.raises(ValueError, match="134,217,728 bytes, expected at most"):
        read_json(tmp_path / "large.json")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"optim": {"epochs": 10**400}}, "epochs = 1000.*000: expected at least 1, at most 1,000,000"),
        ({"optim": {"lr": 10**400}}, "lr = 1000.*: expected a number of the usual size"),
        ({"optim": {"batch_size": 2**40}}, "batch_size = 1099511627776: expected at least 1, or auto"),
        ({"data": {"data": "a\0b"}}, "expected text, no half characters and no NUL"),
        ({"data": {"data": "\ud800"}}, "expected text, no half characters"),
        ({"x" * 10**6: 1}, "unknown setting 'xxx"),
        ({"model": {"model": ["x" * 10**6]}}, r"model = \['xxx.*: expected str"),
        ({"eval": {"alphas": [float("nan")]}}, "alphas = .*: expected noise levels"),
        ({"eval": {"num_clips": 10**9}}, "num_clips = 1000000000: expected at least 1, at most 10,000"),
        ({"optim": {"alpha": [10**400, 1]}}, "alpha = .*: expected a number"),
        ([], r"config: expected an object of settings, got \[\]"),
    ],
)
def test_settings_out_of_any_range_are_told_in_a_short_sentence(values, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        files.from_dict(values)
    assert len(str(caught.value)) < 1000
