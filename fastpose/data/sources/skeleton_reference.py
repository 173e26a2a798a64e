"""The text of `.skeleton` files in plain Python: what csrc's parser reads, and the errors that it gives."""

import re
from collections.abc import Iterator

import numpy as np

NUM_JOINTS = 25
JOINT_FIELDS = (
    *("x", "y", "z"),  # metres, camera space
    *("depthX", "depthY"),  # pixels of 512x424
    *("colorX", "colorY"),  # pixels of 1920x1080
    *("orientW", "orientX", "orientY", "orientZ"),  # a quaternion
    "trackingState",  # 0 lost, 1 inferred, 2 tracked
)
BODY_FIELDS = (  # after its id
    *("clippedEdges", "handLeftConfidence", "handLeftState", "handRightConfidence", "handRightState"),
    *("isRestricted", "leanX", "leanY", "trackingState"),
)

# The shortest text there can be, to bound what a count may promise.
SHORTEST_FRAME = len("0\n")
SHORTEST_BODY = 20 + len("25\n") + NUM_JOINTS * len(JOINT_FIELDS) * len("0 ")
MOST_THINGS = 2**31 - 1
LONGEST_QUOTE = 24  # bytes
FLOAT32_OVERFLOW = 2.0**128 - 2.0**103  # rounds to infinity, and all beyond it

# float() would take underscores too, and white space of other kinds.
_NUMBER = rb"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:inf|infinity|nan))"
NUMBER = re.compile(_NUMBER)
JOINT_LINE = re.compile(rb"[ \t\r]*" + rb"[ \t\r]+".join([_NUMBER] * len(JOINT_FIELDS)) + rb"[ \t\r]*")
WORD = re.compile(rb"[^ \t\r]+")

Place = tuple[int, int, str]  # line and column from 1, and the message


class _Wrong(Exception):
    """What was expected at the word last read."""


class _Words:
    """The words of a text, line by line."""

    def __init__(self, text: bytes) -> None:
        self._lines = text.split(b"\n")
        self._bytes_after_line = len(text)
        self._number = 0  # of the current line, from 0
        self._start_line()

    def next(self) -> bytes:
        """Return the next word of the line; empty at its end."""
        match = next(self._words, None)
        self._column = len(self._line) if match is None else match.start()
        self.word = b"" if match is None else match.group()
        return self.word

    def next_unsigned(self, expected: str) -> int:
        """Return the next word, a whole number of 64 bits."""
        word = self.next()
        digits = word.lstrip(b"0") or b"0"
        if not word.isdigit() or len(digits) > 20 or int(digits) >= 2**64:
            raise _Wrong(expected)
        return int(digits)

    def next_number(self, expected: str) -> float:
        word = self.next()
        if not NUMBER.fullmatch(word):
            raise _Wrong(expected)
        return float(word)

    def end_line(self, expected: str) -> None:
        """Go to the next line, if there is any, unless a word is left on this one."""
        if self.next():
            raise _Wrong(expected)
        if not self.is_last_line():
            self._number += 1
            self._start_line()

    def take_line(self, pattern: re.Pattern[bytes]) -> bytes | None:
        """Return the whole line, if it matches and another follows; it is then done with."""
        if self.is_last_line() or not pattern.fullmatch(self._line):
            return None
        line = self._line
        self._number += 1
        self._start_line()
        return line

    def bytes_left(self) -> int:
        """Return the number of bytes after the word last read."""
        return self._bytes_after_line + len(self._line) - self._column - len(self.word)

    def is_last_line(self) -> bool:
        return self._number == len(self._lines) - 1

    def place(self, expected: str) -> Place:
        """Return the word last read, and what is wrong with it."""
        line, column = self._number + 1, self._column + 1
        found = quoted(self.word) if self.word else "the end of the line"
        if not self.word and self.is_last_line():
            found = "the end of the file"
        return line, column, f"line {line}, column {column}: expected {expected}, found {found}"

    def _start_line(self) -> None:
        self._line = self._lines[self._number]
        self._bytes_after_line -= len(self._line) + (self._number > 0)  # the line break before it
        self._words: Iterator[re.Match[bytes]] = WORD.finditer(self._line)


def quoted(word: bytes) -> str:
    """Return the first bytes of a word, as text that any terminal can show."""
    shown = "".join(chr(b) if 0x20 <= b < 0x7F else f"\\x{b:02x}" for b in word[:LONGEST_QUOTE])
    return f"'{shown}'" + ("..." if len(word) > LONGEST_QUOTE else "")


def parse_skeleton(
    text: bytes,
) -> tuple[Place, None] | tuple[None, tuple[int, int, list[tuple[int, np.ndarray, np.ndarray]]]]:
    """Parse a file's bytes.

    Returns:
        An error (line, column, message) and None; or None and (frames of the file, lost joints, bodies). A body
        is (id, int32 frames [n], float32 joints [n, 25, 12]), in order of first appearance. A joint with a
        non-finite number is lost: all its fields are 0.
    """
    words = _Words(text)
    try:
        num_frames, bodies = _read_frames(words)
        _read_end(words, num_frames)
    except _Wrong as wrong:
        return words.place(str(wrong)), None
    lost_joints, result = 0, []
    for body_id, (frames, numbers) in bodies.items():
        with np.errstate(over="ignore"):
            joints = np.array(numbers).astype(np.float32).reshape(len(frames), NUM_JOINTS, len(JOINT_FIELDS))
        lost = ~np.isfinite(joints).all(axis=-1)
        joints[lost] = 0
        lost_joints += int(lost.sum())
        result.append((body_id, np.array(frames, np.int32), joints))
    return None, (num_frames, lost_joints, result)


def _read_frames(words: _Words) -> tuple[int, dict[int, tuple[list[int], list[float]]]]:
    """Read the number of frames, and of each body id its frames and the numbers of its joints."""
    bodies: dict[int, tuple[list[int], list[float]]] = {}
    num_frames = _read_count(words, "the number of frames", SHORTEST_FRAME)
    for frame in range(num_frames):
        for _ in range(_read_count(words, "the number of bodies in a frame", SHORTEST_BODY)):
            _read_body(words, frame, bodies)
    return num_frames, bodies


def _read_count(words: _Words, what: str, shortest: int) -> int:
    """Read a line that holds a count of things of which each takes at least ``shortest`` bytes."""
    count = words.next_unsigned(f"{what} (a whole number, 0 or more)")
    room = min(words.bytes_left() // shortest, MOST_THINGS)
    if count > room:
        raise _Wrong(f"{what} to be at most {room}, for which the rest of the file has room")
    words.end_line(f"the end of the line after {what}")
    return count


def _read_body(words: _Words, frame: int, bodies: dict[int, tuple[list[int], list[float]]]) -> None:
    body_id = words.next_unsigned("a body id (a whole number from 0 to 2^64 - 1)")
    frames, numbers = bodies.setdefault(body_id, ([], []))
    if frames and frames[-1] == frame:
        raise _Wrong("every body once in a frame")
    for name in BODY_FIELDS:
        if not abs(words.next_number(f"a body's {name}")) < FLOAT32_OVERFLOW:  # nor NaN
            raise _Wrong(f"a finite number for a body's {name}")
    words.end_line("the end of the line after a body's 10 numbers")
    if words.next_unsigned("the number of joints, 25") != NUM_JOINTS:
        raise _Wrong("25 joints")
    words.end_line("the end of the line after the number of joints")
    frames.append(frame)
    for _ in range(NUM_JOINTS):
        if (line := words.take_line(JOINT_LINE)) is not None:
            numbers.extend(map(float, line.split()))
            continue
        for i, name in enumerate(JOINT_FIELDS):
            numbers.append(words.next_number(f"{name} (number {i + 1} of a joint's 12)"))
        words.end_line("the end of the line after a joint's 12 numbers")


def _read_end(words: _Words, num_frames: int) -> None:
    expected = f"the end of the file after its {num_frames} frames"
    while not words.is_last_line():
        words.end_line(expected)
    words.end_line(expected)
