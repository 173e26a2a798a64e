"""A pickle's opcodes in plain Python: what csrc's scanner refuses, and its errors."""

import pickletools
import re

from typing_extensions import Buffer

LONGEST_NUMBER = 1024  # bytes
TOO_LARGE_KEY = 255  # values, a tuple and what it holds
TEXT = 0  # what a key of text costs
MOST_NUMBER_KEYS = 10_000  # that are no text: numbers of equal hash can be chosen
COST_PER_BYTE, FREE_COST = 4, 2**28  # bytes that an unpickler may take
TOO_COSTLY = "what it builds takes far more memory than the file has bytes"

_OPCODES = {ord(opcode.code): opcode for opcode in pickletools.opcodes}
_WIDTHS = {  # bytes of the number that says an argument's length
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_LINES = {"GLOBAL": 2, "INST": 2}  # of text; 1 elsewhere
_NUMBERS = {"INT", "LONG", "FLOAT", "LONG1", "LONG4"}
_TEXTS = {
    "STRING",
    "UNICODE",
    "BINSTRING",
    "SHORT_BINSTRING",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
}
# Bytes that the unpickler takes for an opcode, beside its argument's; of others 8.
_COSTS = {
    **dict.fromkeys(
        ("INT", "LONG", "LONG1", "LONG4", "FLOAT", "BININT", "BININT2", "BINFLOAT", "PERSID"), 40
    ),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), 40),
    **dict.fromkeys((*_TEXTS, "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "TUPLE"), 64),
    **dict.fromkeys(("TUPLE1", "TUPLE2", "TUPLE3"), 80),
    **dict.fromkeys(("GLOBAL", "SETITEM", "SETITEMS", "ADDITEMS"), 120),
    **dict.fromkeys(
        ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "LIST", "DICT", "FROZENSET", "OBJ", "INST"), 240
    ),
    **dict.fromkeys(("STACK_GLOBAL", "REDUCE", "NEWOBJ", "NEWOBJ_EX"), 240),
    "MARK": 24,
}
_MEMO_COST, _TUPLE_ITEM_COST = 24, 8
# These leave the value below those that they take.
_CHANGES = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD", "READONLY_BUFFER"}
_KEY_STRIDES = {"SETITEM": 2, "SETITEMS": 2, "DICT": 2, "ADDITEMS": 1, "FROZENSET": 1}
_NEWLINE = re.compile(rb"\n")
_INDEX = re.compile(rb"[0-9]{1,18}")


class _Wrong(Exception):
    """What is wrong with the current opcode."""


class _Scan:
    """The stack and memo of an unpickler, which hold what a key of each value would cost.

    That is 1, ``TEXT`` for text, or for a tuple 1 and the sum of its values, at most ``TOO_LARGE_KEY``.
    """

    def __init__(self, pickle: memoryview) -> None:
        self._pickle = pickle
        self._next = 0
        self._stack: list[int] = []
        self._marks: list[int] = []  # heights of the stack
        self._memo: dict[int, int] = {}
        self._memo_size = 0
        self._cost = 0
        self._most_cost = COST_PER_BYTE * len(pickle) + FREE_COST
        self._number_keys = 0

    def run(self) -> str:
        """Return the error at the first opcode that has one; empty at the first STOP."""
        name = ""
        while name != "STOP":
            start = self._next
            try:
                name = self._step()
            except _Wrong as error:
                return f"byte {start}: {error}"
        return ""

    @property
    def end(self) -> int:
        """The bytes that ``run`` has looked at."""
        return self._next

    def _step(self) -> str:
        start = self._next
        if start == len(self._pickle):
            raise _Wrong("it ends here, without the opcode STOP")
        opcode = _OPCODES.get(self._pickle[start])
        self._next += 1
        if opcode is None:
            raise _Wrong(f"{self._pickle[start]:#04x} is no opcode of a pickle")
        argument = self._argument(opcode)
        self._obey(opcode, argument, start)
        if self._cost > self._most_cost:
            raise _Wrong(TOO_COSTLY)
        return opcode.name

    def _argument(self, opcode: pickletools.OpcodeInfo) -> memoryview:
        self._cost += _COSTS.get(opcode.name, 8)
        if opcode.arg is None:
            return self._bytes(0)
        size = opcode.arg.n
        if size == pickletools.UP_TO_NEWLINE:
            argument = self._lines(_LINES.get(opcode.name, 1))
            self._cost += len(argument)
        elif size in _WIDTHS:
            argument = self._bytes(int.from_bytes(self._bytes(_WIDTHS[size]), "little"))
            self._cost += len(argument)
        else:
            argument = self._bytes(size)
        if opcode.name == "FRAME" and int.from_bytes(argument, "little") > len(self._pickle) - self._next:
            raise _Wrong("it is cut off, or has a length beyond its end")
        if opcode.name in _NUMBERS and len(argument) > LONGEST_NUMBER:
            raise _Wrong(f"a number of more than {LONGEST_NUMBER} bytes")
        return argument

    def _bytes(self, size: int) -> memoryview:
        if size > len(self._pickle) - self._next:
            raise _Wrong("it is cut off, or has a length beyond its end")
        self._next += size
        return self._pickle[self._next - size : self._next]

    def _lines(self, count: int) -> memoryview:
        start = self._next
        for _ in range(count):
            newline = _NEWLINE.search(self._pickle, self._next)
            if newline is None:
                raise _Wrong("it is cut off, or has a length beyond its end")
            self._next = newline.end()
        return self._pickle[start : self._next - 1]

    def _obey(self, opcode: pickletools.OpcodeInfo, argument: memoryview, position: int) -> None:
        name = opcode.name
        if name == "MARK":
            self._marks.append(len(self._stack))
        elif name == "POP":
            if self._marks and self._marks[-1] == len(self._stack):
                self._marks.pop()
            else:
                self._take(1)
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            index = self._index(name, argument, position)
            self._stack.append(self._memo.get(index, 1))  # the unpickler tells what was never put
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "DUP", "STOP"):
            (value,) = self._take(1)
            self._stack += [value, value] if name == "DUP" else [value]
            if name.endswith("PUT"):
                index = self._index(name, argument, position)
                if index > position:
                    raise _Wrong(f"its memo index is no whole number from 0 to {position}")
                self._put(index, value)
            elif name == "MEMOIZE":
                self._put(len(self._memo), value)
        else:
            self._replace(opcode)

    def _replace(self, opcode: pickletools.OpcodeInfo) -> None:
        """Take what the opcode takes off the stack, and put what it leaves."""
        before, name = opcode.stack_before, opcode.name
        if pickletools.markobject in before:
            if not self._marks:
                raise _Wrong("it takes a value that is not there")
            mark = self._marks.pop()
            taken, self._stack = self._stack[mark:], self._stack[:mark]
        else:
            taken = self._take(len(before) - (name in _CHANGES))
        stride = _KEY_STRIDES.get(name)
        for key in taken[::stride] if stride else ():
            if key == TOO_LARGE_KEY:
                raise _Wrong(
                    f"a key of a dict or an item of a set is a tuple of more than {TOO_LARGE_KEY - 2} values"
                )
            self._number_keys += key != TEXT
            if self._number_keys > MOST_NUMBER_KEYS:
                raise _Wrong(f"more than {MOST_NUMBER_KEYS} keys of dicts and items of sets that are no text")
            self._cost += _COSTS[name]
        if name in _CHANGES:
            self._stack += self._take(1)
        elif pickletools.pytuple in opcode.stack_after:
            self._stack.append(min(1 + sum(max(value, 1) for value in taken), TOO_LARGE_KEY))
            self._cost += _TUPLE_ITEM_COST * len(taken)
        else:
            self._stack += [TEXT if name in _TEXTS else 1] * len(opcode.stack_after)

    def _put(self, index: int, value: int) -> None:
        self._cost += _MEMO_COST * max(0, index + 1 - self._memo_size)
        self._memo_size = max(self._memo_size, index + 1)
        self._memo[index] = value

    def _take(self, count: int) -> list[int]:
        """Take values that lie above the last mark."""
        start = len(self._stack) - count
        if start < (self._marks[-1] if self._marks else 0):
            raise _Wrong("it takes a value that is not there")
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def _index(self, name: str, argument: memoryview, position: int) -> int:
        if name not in ("GET", "PUT"):
            return int.from_bytes(argument, "little")
        if not _INDEX.fullmatch(argument):
            raise _Wrong(f"its memo index is no whole number from 0 to {position}")
        return int(bytes(argument))


def scan_pickle(pickle: Buffer) -> str:
    """Return what is wrong with a pickle's opcodes, empty where nothing is; build nothing of it."""
    with memoryview(pickle).cast("B") as view:
        return _Scan(view).run()


def pickle_end(pickles: Buffer, start: int) -> int:
    """Return where the pickle ends that begins at ``start``, of several that stand one behind the other.

    Raises:
        ValueError: ``scan_pickle`` refuses it; the text has the byte.
    """
    with memoryview(pickles).cast("B") as view, view[start:] as rest:
        scan = _Scan(rest)
        if fault := scan.run():
            raise ValueError(f"from byte {start}, {fault}")
        return start + scan.end
