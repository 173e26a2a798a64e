"""The text of `--help` for a command whose options are the fields of a dataclass, or a function's parameters."""

import ast
import dataclasses
import difflib
import inspect
import shutil
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

EVERYTHING = "all"
METAVARS: dict[Any, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
INDENT = 26  # columns before the text of an option


@dataclass(frozen=True, slots=True)
class Option:
    """One flag or positional argument: how it is written, and what it does."""

    name: str  # as in the dataclass, clip_len, or what `tyro.conf.arg` puts in its place
    head: str  # "--clip-len N"
    text: str
    positional: bool
    required: bool

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


@dataclass(frozen=True, slots=True)
class Group:
    """The options of one dataclass: the command's own under the name "", or those of a field that holds another."""

    name: str
    text: str
    options: list[Option]


def field_texts(kind: type) -> dict[str, str]:
    """Return the docstrings below the fields of a dataclass and its bases, by field; "" where there is none."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        definition = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(definition, ast.ClassDef)
        name = ""
        for node in definition.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name = node.target.id
                texts[name] = ""
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name:
                texts[name] = " ".join(str(node.value.value).split())
    return texts


def metavar(hint: Any) -> str:
    """Return how a value of a type is written in help, such as "N" for int and "cpu|cuda" for a literal."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return metavar(parts[0])
    if origin is Literal:
        return "|".join(map(str, parts))
    if origin is tuple:
        return f"{metavar(parts[0])} ..." if Ellipsis in parts else " ".join(map(metavar, parts))
    if parts:  # a union; None is what is meant by leaving the flag out
        return "|".join(metavar(part) for part in parts if part is not NoneType)
    return METAVARS.get(hint, "VALUE")


def _default_text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else ""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return " ".join(map(_default_text, value))
    return "" if value is None else str(value)


def _option(name: str, hint: Any, text: str, value: Any) -> Option:
    """Return the option of one field or parameter; ``value`` is its default, or `MISSING` where there is none."""
    notes = hint.__metadata__ if get_origin(hint) is Annotated else ()
    positional = tyro.conf.Positional in notes
    text = next((note.help for note in notes if getattr(note, "help", None)), text)
    name = next((note.name for note in notes if getattr(note, "name", None)), name)
    required = value is MISSING
    flag = name.replace("_", "-")
    if positional:
        head = flag.upper() if required else f"[{flag.upper()}]"
    elif bool in (hint, get_args(hint)[0] if notes else None):
        head = f"--[no-]{flag}"
    else:
        head = f"--{flag} {metavar(hint)}"
    shown = "" if positional or required else _default_text(value)
    text = f"{text} (default: {shown})".strip() if shown else text
    return Option(name, head, text, positional, required)


def _parameters(kind: Callable[..., Any], default: Any) -> list[tuple[str, Any, Any]]:
    """Return name, type and default of each field of a dataclass, or of each parameter of a function."""
    hints = get_type_hints(kind, include_extras=True)
    if not dataclasses.is_dataclass(kind):
        given = inspect.signature(kind).parameters.values()
        return [(p.name, hints[p.name], MISSING if p.default is p.empty else p.default) for p in given]
    parameters = []
    for field in dataclasses.fields(kind):
        value = field.default
        if field.default_factory is not MISSING:
            value = field.default_factory()
        if default is not None and value is not MISSING:
            value = getattr(default, field.name)
        parameters.append((field.name, hints[field.name], value))
    return parameters


def read_groups(kind: Callable[..., Any], default: Any = None, name: str = "") -> list[Group]:
    """Return the options of a dataclass or function, in their order, its own first and then those nested in it.

    Args:
        kind: The dataclass or function.
        default: An instance whose values are the defaults; by default those of the fields.
        name: Name of the first group.
    """
    texts = field_texts(kind) if isinstance(kind, type) else {}
    text = (inspect.getdoc(kind) or "").partition("\n\n")[0]  # what it raises is not for here
    own = Group(name, " ".join(text.split()), [])
    nested: list[Group] = []
    for parameter, hint, value in _parameters(kind, default):
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            nested += read_groups(hint, value, parameter)
        else:
            own.options.append(_option(parameter, hint, texts.get(parameter, ""), value))
    return [own, *nested]


def _brief(text: str, width: int) -> str:
    """Return the first clause of a text that is longer than ``width``, and its default."""
    if len(text) <= width:
        return text
    first, end, rest = text.partition(". " if ". " in text.partition("; ")[0] else "; ")
    default = rest.rfind("(default: ")
    return f"{first}. {rest[default:] if default >= 0 else ''}".strip() if end else text


def _rows(options: Sequence[Option], width: int, *, brief: bool = False) -> list[str]:
    """Return the lines of some options: how each is written, and its text, if ``brief`` of two lines at most."""
    lines = []
    room = width - INDENT
    wrapper = textwrap.TextWrapper(room, max_lines=2 if brief else None, placeholder=" …")
    for option in options:
        text = wrapper.wrap(_brief(option.text, room) if brief else option.text) or [""]
        head = "  " + option.head
        if len(head) > INDENT - 2:
            lines.append(head)
            head = ""
        lines.append(f"{head:<{INDENT}}{text[0]}".rstrip())
        lines += [" " * INDENT + line for line in text[1:]]
    return lines


def _overview(group: Group, common: Sequence[str], column: int, width: int) -> list[str]:
    """Return the lines of a group of which only the names are listed."""
    names = " ".join(option.flag for option in group.options if option.name not in common)
    pad = " " * column
    flags = textwrap.wrap(names, width - column, break_on_hyphens=False, break_long_words=False)
    return [f"  {group.name:<{column - 2}}{group.text}", *(pad + line for line in flags)]


def screen_width() -> int:
    """Return the columns that help is written in: those of the terminal, of which 100 at most."""
    return max(60, min(100, shutil.get_terminal_size((100, 24)).columns))


def format_help(
    kind: Callable[..., Any],
    program: str,
    *,
    default: Any = None,
    common: Sequence[str] = (),
    topic: str | None = None,
) -> str:
    """Return the help of a command.

    Args:
        kind: Dataclass of its options, described by its docstring and the docstrings below its fields; or a
            function, whose parameters have their texts by `tyro.conf.arg`.
        program: What the command is called, "fastpose train".
        default: Instance that holds the defaults; by default those of the dataclass.
        common: Fields of nested groups that most users need: they are then listed in full, the groups' other options
            by name alone. Without them everything is listed in full.
        topic: List only this group in full, or "all" of them.

    Raises:
        ValueError: There is no such group; the message names those there are.
    """
    own, *nested = read_groups(kind, default)
    width = screen_width()
    names = [group.name for group in nested] + [EVERYTHING]
    if topic and topic not in names:
        close = difflib.get_close_matches(topic, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(names)}"
        raise ValueError(f"--help {topic}: no such group of options; {hint}")
    if topic and topic != EVERYTHING:
        group = nested[names.index(topic)]
        return "\n".join([f"{program}, {topic} options: {group.text}", "", *_rows(group.options, width)])

    positional = [option for option in own.options if option.positional]
    flags = [option for option in own.options if not option.positional]
    needed = [option.head for option in flags if option.required]
    lines = [" ".join([f"usage: {program} [options]", *needed, *(option.head for option in positional)])]
    for paragraph in (inspect.getdoc(kind) or "").split("\n\n"):
        lines += ["", *textwrap.wrap(" ".join(paragraph.split()), width)]
    if positional:
        lines += ["", "arguments:", *_rows(positional, width)]
    folded = bool(common) and topic is None
    if folded:
        flags += [option for group in nested for option in group.options if option.name in common]
    lines += ["", "options:", *_rows(flags, width, brief=folded)]
    if folded:
        column = max(len(group.name) for group in nested) + 4
        lines += ["", f"more options; --help {nested[0].name} explains one group, --help all everything:"]
        for group in nested:
            lines += _overview(group, common, column, width)
    else:
        for group in nested:
            lines += ["", f"{group.name} options: {group.text}", *_rows(group.options, width)]
    return "\n".join(lines)
