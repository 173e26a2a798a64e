"""What the V keypoints of a person are: their names, sides and limbs."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastpose.data.pack.limits import MOST_JOINTS
from fastpose.settings.json_text import read_json
from fastpose.settings.short_text import short, short_names


@dataclass(frozen=True, slots=True)
class Layout:
    """The joints of a person, in the order of the V axis; V is any number up to 4096.

    Attributes:
        name: what the layout is called in files and messages.
        joints: V distinct names.
        pairs: (left, right) joints that a horizontal flip exchanges.
        limbs: (a, b) joints that a bone joins.

    Raises:
        ValueError: an index outside 0..V-1, a joint in two pairs, a limb from a joint to itself, repeated or
            empty names, or members of another type.
    """

    name: str
    joints: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    limbs: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"a layout's name must be a non-empty string, got {short(self.name)}")
        if len(self.name) > 200:
            raise ValueError(f"a layout's name may have 200 letters, got {len(self.name):,}")
        for field in ("joints", "pairs", "limbs"):
            value = getattr(self, field)
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise ValueError(f"layout {self.name!r}: {field} must be a tuple, got {short(value)}")
            object.__setattr__(self, field, tuple(value))
        if not all(isinstance(joint, str) and joint for joint in self.joints):
            raise ValueError(
                f"layout {self.name!r}: joints must be non-empty strings, got {short(self.joints)}"
            )
        if not self.joints or len(set(self.joints)) != len(self.joints):
            raise ValueError(f"layout {self.name!r}: joints must be one or more distinct names")
        if len(self.joints) > MOST_JOINTS:
            raise ValueError(
                f"layout {self.name!r}: has {len(self.joints):,} joints, expected at most {MOST_JOINTS:,}"
            )
        object.__setattr__(self, "pairs", self._index_pairs("pairs"))
        object.__setattr__(self, "limbs", self._index_pairs("limbs"))
        paired = Counter(joint for pair in self.pairs for joint in pair)
        twice, count = paired.most_common(1)[0] if paired else (0, 0)
        if count > 1:
            raise ValueError(f"layout {self.name!r}: joint {twice} ({self.joints[twice]}) is in two pairs")

    def _index_pairs(self, field: str) -> tuple[tuple[int, int], ...]:
        checked = []
        for pair in getattr(self, field):
            ends = tuple(pair) if isinstance(pair, list | tuple) else ()
            if len(ends) != 2 or any(isinstance(end, bool) or not isinstance(end, int) for end in ends):
                raise ValueError(
                    f"layout {self.name!r}: {field} must hold pairs of joint numbers, got {short(pair)}"
                )
            if not all(0 <= end < len(self.joints) for end in ends) or ends[0] == ends[1]:
                raise ValueError(
                    f"layout {self.name!r}: {field} must join two of the joints 0..{len(self.joints) - 1}, "
                    f"got {short(ends)}"
                )
            checked.append(ends)
        return tuple(checked)

    @property
    def num_joints(self) -> int:
        """V."""
        return len(self.joints)

    def flip_index(self) -> np.ndarray:
        """Return int64 [V]: joint v of a mirrored person is joint ``flip_index()[v]`` of the original."""
        index = np.arange(self.num_joints, dtype=np.int64)
        for left, right in self.pairs:
            index[left], index[right] = right, left
        return index

    def to_json(self) -> dict[str, Any]:
        """Return a dict of plain lists, ready for ``json.dumps``; ``from_json`` is its inverse."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Layout":
        """Build from {name, joints, pairs, limbs}; pairs and limbs may be missing (none).

        Raises:
            ValueError: an unknown or missing key, or whatever ``Layout`` refuses.
        """
        known = {"name", "joints", "pairs", "limbs"}
        if not isinstance(fields, Mapping) or set(fields) - known or not {"name", "joints"} <= set(fields):
            got = short_names(fields) if isinstance(fields, Mapping) else type(fields).__name__
            raise ValueError(f"a layout is an object with name, joints, pairs and limbs, got {got}")
        lists = {key: fields.get(key, []) for key in ("joints", "pairs", "limbs")}
        for key, value in lists.items():
            if not isinstance(value, list | tuple):
                raise ValueError(f"a layout's {key} must be a list, got {type(value).__name__}")
        return cls(fields["name"], **lists)

    @classmethod
    def from_file(cls, path: str | Path) -> "Layout":
        """Read a JSON file {name, joints, pairs, limbs}.

        Raises:
            ValueError: it cannot be read, is not JSON, or not a layout; the text names the file.
        """
        content = read_json(path)
        try:
            return cls.from_json(content)
        except ValueError as error:
            raise ValueError(f"{path}: not a layout file: {error}") from error
