"""Text of `.skeleton` files to arrays: every number, every line, every way to be wrong."""

import locale
import pickle
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.skeletons import parse_skeleton

from fastpose.data import DecodeError, read_skeleton

BODY_LINE = "72057594037931101 0 1 1 1 1 0 -0.1159187 0.1413209 2"
JOINT_LINE = (
    "0.2097461 -0.2036705 3.296831 279.2533 227.5797 1027.438 595.4843 -0.1698079 0.0428597 0.97 -0.15 2"
)


def body_lines(joint_lines=None, body_line=BODY_LINE) -> list[str]:
    return [body_line, "25", *(joint_lines or [JOINT_LINE] * 25)]


def one_body_lines() -> list[str]:
    return ["1", "1", *body_lines()]


def parse(lines: list[str] | str | bytes):
    """The parser's content of `lines`, or DecodeError."""
    text = "\n".join(lines) + "\n" if isinstance(lines, list) else lines
    error, content = parse_skeleton(text if isinstance(text, bytes) else text.encode())
    if error is not None:
        raise DecodeError("clip", *error)
    return content


def joints_of(tokens: list[str]) -> np.ndarray:
    """The 275 numbers of a body whose joints hold `tokens` before a trackingState of 2."""
    rows = [" ".join([*tokens[i : i + 11], "2"]) for i in range(0, 275, 11)]
    _, _, [(_, _, joints)] = parse(["1", "1", *body_lines(rows)])
    assert (joints[0, :, 11] == 2).all()
    return joints[0, :, :11].reshape(-1)


def as_float32(tokens: list[str]) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.array([np.float32(float(token)) for token in tokens])


DIGITS = st.text("0123456789", min_size=1, max_size=25)
SIGN = st.sampled_from(["", "-", "+"])
DECIMALS = st.one_of(
    st.builds(
        "{}{}.{}".format,
        SIGN,
        st.text("0123456789", min_size=1, max_size=8),
        st.text("0123456789", max_size=9),
    ),
    st.builds("{}{}.{}".format, SIGN, DIGITS, DIGITS),
    st.builds("{}.{}".format, SIGN, DIGITS),
    st.builds("{}{}".format, SIGN, DIGITS),
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda x: f"{x:.7g}"),
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda x: f"{x:.7G}"),
    st.builds("{}{}.{}e{}".format, SIGN, DIGITS, DIGITS, st.integers(-70, 10)),
    st.builds("{}{}E{:+03d}".format, SIGN, st.integers(0, 10**7), st.integers(-420, 30)),
)
# Half-way between two floats, exactly and by a hair: what the double in between rounds to decides.
FLOATS = st.floats(min_value=2**-100, max_value=2**100, width=32)


def halfway_token(low: float, hair: str) -> str:
    """The exact middle of a float32 and the next, and digits after it."""
    high = float(np.nextafter(np.float32(low), np.float32(np.inf)))
    with localcontext(prec=400):
        text = f"{(Decimal(low) + Decimal(high)) / 2:f}"
    return text + ("" if "." in text else ".") + hair


HALFWAYS = st.builds(halfway_token, FLOATS, st.sampled_from(["", "1", "0" * 30 + "1"]))


@given(st.lists(DECIMALS | HALFWAYS, min_size=1, max_size=40))
def test_every_number_is_the_float32_of_its_double(tokens):
    tokens = [token for token in tokens if np.isfinite(as_float32([token])[0])] or ["0"]
    tokens = (tokens * 275)[:275]
    expected = as_float32(tokens)
    assert joints_of(tokens).tobytes() == expected.tobytes()  # -0 too


@pytest.mark.parametrize("digits", [7, 9, 17])
def test_random_numbers_as_printed_by_others(digits):
    rng = np.random.default_rng(digits)
    numbers = rng.normal(size=2750) * 10.0 ** rng.integers(-6, 5, 2750)
    for start in range(0, 2750, 275):
        tokens = [f"{x:.{digits}g}" for x in numbers[start : start + 275]]
        np.testing.assert_array_equal(joints_of(tokens), as_float32(tokens))


def test_numbers_at_the_ends_of_double_and_float():
    tokens = ["4.9e-324", "1e-400", "-1e-400", "2.2250738585072014e-308", "1e-45", "7e-46", "1.17549435e-38"]
    tokens += [
        "3.4028235e38",
        "-3.4028235677973362e38",
        "0e999999999999999999999",
        "0." + "0" * 400 + "1e400",
    ]
    tokens += [
        "9007199254740993",
        "9007199254740993.0000001",
        "123456789012345678901234567890",
        "00012.50",
        "1e-99999",
    ]
    tokens += [
        "5.",
        ".5",
        "-.5",
        "+1.25",
        "16777217",
        "16777219.0",
        "8388608.5",
        "-0",
        "-0.0",
        "99999999.99999999",
    ]
    tokens = (tokens * 11)[:275]
    assert joints_of(tokens).tobytes() == as_float32(tokens).tobytes()


@pytest.mark.parametrize(
    "token", ["nan", "NaN", "-nan", "inf", "-Infinity", "+INF", "1e39", "-1e400", "3.4028236e38"]
)
@pytest.mark.parametrize("field", [0, 5, 11])
def test_a_non_finite_number_loses_its_joint(token, field):
    numbers = JOINT_LINE.split()
    numbers[field] = token
    num_frames, lost_joints, [(_, _, joints)] = parse(
        ["1", "1", *body_lines([JOINT_LINE] * 3 + [" ".join(numbers)] + [JOINT_LINE] * 21)]
    )
    assert (num_frames, lost_joints) == (1, 1)
    assert not joints[0, 3].any()
    assert (joints[0, [2, 4]] == as_float32(JOINT_LINE.split())).all()


@pytest.mark.parametrize(
    "token",
    [
        "1_0",
        "0x10",
        "1e",
        "1e+",
        ".",
        "-",
        "+-1",
        "--1",
        "1..2",
        "1,5",
        "nan0",
        "infi",
        "1.5f",
        "1.#IND",
        "é",
        "\0",
    ],
)
def test_junk_in_place_of_a_number(token):
    numbers = JOINT_LINE.split()
    numbers[5] = token
    column = len(" ".join(numbers[:5])) + 2
    with pytest.raises(DecodeError, match=r"expected colorX \(number 6 of a joint's 12\), found '") as caught:
        parse(["1", "1", *body_lines([JOINT_LINE, " ".join(numbers), *[JOINT_LINE] * 23])])
    assert (caught.value.line, caught.value.column) == (6, column)


LAYOUTS_OF_WHITE_SPACE = {
    "LF": lambda lines: "\n".join(lines) + "\n",
    "CRLF": lambda lines: "\r\n".join(lines) + "\r\n",
    "no last newline": "\n".join,
    "no last newline, CRLF": "\r\n".join,
    "CR at the end": lambda lines: "\r\n".join(lines) + "\r",
    "blank lines at the end": lambda lines: "\n".join(lines) + "\n\n \r\n\t\n",
    "spaces": lambda lines: "".join(f"  {line.replace(' ', '   ')} \n" for line in lines),
    "tabs": lambda lines: "".join(f"{line.replace(' ', chr(9))}\t\r\n" for line in lines),
}


@pytest.mark.parametrize("layout", LAYOUTS_OF_WHITE_SPACE)
def test_white_space_does_not_matter(layout):
    lines = ["3", "1", *body_lines(), "0", "1", *body_lines()]
    num_frames, lost_joints, [(body_id, frames, joints)] = parse(LAYOUTS_OF_WHITE_SPACE[layout](lines))
    assert (num_frames, lost_joints, body_id) == (3, 0, 72057594037931101)
    assert frames.dtype == np.int32
    assert frames.tolist() == [0, 2]
    assert joints.shape == (2, 25, 12)
    assert joints.dtype == np.float32
    assert (joints == as_float32(JOINT_LINE.split())).all()


def test_bodies_in_order_of_appearance_with_exact_ids():
    def body(body_id, x):
        return body_lines(
            [f"{x} " + JOINT_LINE.split(" ", 1)[1]] * 25, f"{body_id} {BODY_LINE.split(' ', 1)[1]}"
        )

    largest = 2**64 - 1
    lines = [
        "3",
        "1",
        *body(largest, 1),
        "3",
        *body(7, 2),
        *body(largest, 3),
        *body(largest - 1, 4),
        "1",
        *body(7, 5),
    ]
    num_frames, _, bodies = parse(lines)
    assert num_frames == 3
    assert [(body_id, frames.tolist(), joints[:, 0, 0].tolist()) for body_id, frames, joints in bodies] == [
        (largest, [0, 1], [1, 3]),
        (7, [1, 2], [2, 5]),
        (largest - 1, [1], [4]),
    ]


@pytest.mark.parametrize("text", [b"0", b"0\n", b"0\r\n\r\n"])
def test_no_frames(text):
    assert parse(text) == (0, 0, [])


def replaced(line: int, text: str) -> list[str]:
    lines = one_body_lines()
    lines[line - 1] = text
    return lines


# What is wrong: (text, line, column, what the message must hold)
BAD_FILES = {
    "empty": (b"", 1, 1, "the number of frames (a whole number, 0 or more), found the end of the file"),
    "blank": (b"\n\n", 1, 1, "found the end of the line"),
    "binary": (bytes(range(128, 256)) * 9, 1, 1, r"found '\x80\x81"),
    "another format": (b"\x93NUMPY\x01\x00", 1, 1, r"found '\x93NUMPY\x01\x00'"),
    "negative frames": (replaced(1, "-1"), 1, 1, "found '-1'"),
    "fractional frames": (replaced(1, "1.0"), 1, 1, "found '1.0'"),
    "frames beyond 64 bits": (replaced(1, "9" * 30), 1, 1, "found '" + "9" * 24 + "'..."),
    "huge frames": (replaced(1, "2000000000"), 1, 1, "the rest of the file has room, found '2000000000'"),
    "frames promised": ("5\n0\n0\n", 1, 1, "at most 2, for which the rest of the file has room, found '5'"),
    "two counts": (replaced(1, " 1 1"), 1, 4, "the end of the line after the number of frames, found '1'"),
    "negative bodies": (replaced(2, "-2"), 2, 1, "expected the number of bodies in a frame"),
    "huge bodies": (replaced(2, "18446744073709551615"), 2, 1, "to be at most 4, for which the rest"),
    "bodies promised": (replaced(2, "5"), 2, 1, "found '5'"),
    "one body too many": (replaced(2, "2"), 30, 1, "expected a body id"),
    "negative id": (replaced(3, "-5 " + BODY_LINE[18:]), 3, 1, "expected a body id"),
    "id beyond 64 bits": (replaced(3, "18446744073709551616 0 1 1 1 1 0 0 0 2"), 3, 1, "2^64 - 1"),
    "short body": (replaced(3, BODY_LINE[:-2]), 3, 51, "a body's trackingState, found the end of the line"),
    "long body": (replaced(3, BODY_LINE + " 1"), 3, 54, "after a body's 10 numbers, found '1'"),
    "nan in a body": (replaced(3, "7 0 1 1 1 1 0 nan 0 2"), 3, 15, "a finite number for a body's leanX"),
    "overflow in a body": (replaced(3, BODY_LINE[:-1] + "1e39"), 3, 52, "expected a finite number"),
    "24 joints": (replaced(4, "24"), 4, 1, "expected 25 joints, found '24'"),
    "huge joints": (replaced(4, "4294967321"), 4, 1, "expected 25 joints"),
    "no joints": (replaced(4, "x"), 4, 1, "expected the number of joints, 25, found 'x'"),
    "short joint": (replaced(29, JOINT_LINE[:-2]), 29, len(JOINT_LINE) - 1, "trackingState (number 12 of"),
    "long joint": (replaced(7, JOINT_LINE + " 2"), 7, len(JOINT_LINE) + 2, "a joint's 12 numbers, found '2'"),
    "blank line between": (replaced(5, ""), 5, 1, "(number 1 of a joint's 12), found the end of the line"),
    "a frame too many": ([*one_body_lines(), "0"], 30, 1, "end of the file after its 1 frames, found '0'"),
    "garbage after blanks": (("\n".join(one_body_lines()) + "\n\n  x"), 31, 3, "found 'x'"),
    "a body twice": (["1", "2", *body_lines(), *body_lines()], 30, 1, "every body once in a frame, found"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_says_where_and_why(name):
    text, line, column, reason = BAD_FILES[name]
    with pytest.raises(DecodeError) as caught:
        parse(text)
    assert reason in str(caught.value)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value).startswith(f"clip: line {line}, column {column}: expected ")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_cut_at_any_byte_is_an_error(end):
    lines = ["2", "1", *body_lines(), "1", *body_lines()]
    whole = end.join(lines).encode()  # every number is complete from here on
    for length in range(len(whole)):
        with pytest.raises(DecodeError) as caught:
            parse(whole[:length])
        assert 1 <= caught.value.line <= len(lines)
        assert caught.value.column <= len(JOINT_LINE) + 2
    assert parse(whole)[0] == 2


@given(st.binary(max_size=300), st.integers(0, 2000), st.integers(0, 40))
def test_no_text_crashes_the_parser(junk, place, gone):
    text = "\n".join(one_body_lines()).encode()
    for candidate in (junk, text[:place] + junk + text[place + gone :]):
        error, content = parse_skeleton(candidate)
        assert (error is None) != (content is None)
        if content is not None:
            assert all(np.isfinite(joints).all() for _, _, joints in content[2])


def test_read_skeleton_names_the_file(tmp_path):
    path = tmp_path / "S001C001P001R001A001.skeleton"
    path.write_text("\n".join(one_body_lines()))
    skeleton = read_skeleton(path)
    assert (skeleton.num_frames, skeleton.lost_joints, len(skeleton.bodies)) == (1, 0, 1)
    assert skeleton.bodies[0].body_id == 72057594037931101
    assert read_skeleton(str(path)).bodies[0].joints.shape == (1, 25, 12)

    path.write_text("two")
    with pytest.raises(DecodeError) as caught:
        read_skeleton(path)
    copy = pickle.loads(pickle.dumps(caught.value))  # worker processes send errors home
    for error in (caught.value, copy):
        assert str(error) == (
            f"{path}: line 1, column 1: "
            "expected the number of frames (a whole number, 0 or more), found 'two'"
        )
        assert (error.path, error.line, error.column) == (str(path), 1, 1)
    assert isinstance(caught.value, ValueError)

    with pytest.raises(FileNotFoundError):
        read_skeleton(tmp_path / "absent.skeleton")


def test_locale_does_not_matter():
    before = locale.setlocale(locale.LC_NUMERIC)
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8"):
        try:
            locale.setlocale(locale.LC_NUMERIC, name)
        except locale.Error:
            continue
        try:
            tokens = (["1.5", "7.5e-05", "0.123456789012345678901"] * 92)[:275]
            np.testing.assert_array_equal(joints_of(tokens), as_float32(tokens))
        finally:
            locale.setlocale(locale.LC_NUMERIC, before)
