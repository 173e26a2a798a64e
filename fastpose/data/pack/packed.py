"""Packed clips: every keypoint of a data set in a few flat arrays, one memory-mapped file."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastpose.data.pack import clip_builder, packed_file
from fastpose.data.pack.clip_check import CheckedClip, check_clip
from fastpose.data.pack.layouts import Layout, convert, get_layout
from fastpose.data.sources.frame_lists import clip_of_frames
from fastpose.settings.json_text import parse_json
from fastpose.settings.keypoints import KeypointOptions
from fastpose.settings.short_text import short
from fastpose.system.tensor_file import check_header

# Arrays of a pack: dtype and shape, where n, rows and V must agree between them.
_ARRAYS: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "keypoints": ("float32", ("rows", "V", 2)),
    "scores": ("float32", ("rows", "V")),
    "offsets": ("int64", ("n+1",)),
    "num_persons": ("int32", ("n",)),
    "num_frames": ("int32", ("n",)),
    "labels": ("int64", ("n",)),
    "image_sizes": ("int32", ("n", 2)),
    "name_hashes": ("uint64", ("n",)),
    "total_difference": ("float64", ("n",)),
}


@dataclass(frozen=True, slots=True, eq=False)
class PoseClip:
    """One clip.

    Attributes:
        name: unique in its data set.
        keypoints: float32 [M, T, V, 2], pixels.
        scores: float32 [M, T, V]; a joint of score ≤ 0 is missing.
        label: class, from 0.
        image_size: (h, w) of the video, pixels.
    """

    name: str
    keypoints: np.ndarray
    scores: np.ndarray
    label: int
    image_size: tuple[int, int]

    @classmethod
    def from_frames(
        cls, frames: Sequence[Any], *, name: str, image_size: tuple[int, int], label: int = 0
    ) -> "PoseClip":
        """Return a clip of what a pose estimator returned for each frame, its persons linked over time.

        Args:
            frames: for each frame an array [N, V, 2] or [N, V, 3] (x, y, score) of N persons in pixels, a pair
                (keypoints, scores), a dict {keypoints, scores, ids}, an object of ``supervision.KeyPoints`` or of
                Ultralytics' results; None or [] where nobody was found.
            name: of the clip.
            image_size: (h, w) in pixels.
            label: class, from 0.

        Raises:
            ValueError: a frame of another form or number of joints, or nobody in any frame.
        """
        found = clip_of_frames(frames)
        return cls(name, found.keypoints, found.scores, label, image_size)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True, repr=False)
class PackedClips:
    """n clips, laid end to end. The arrays are read-only views of the mapped file after ``load``.

    No keypoint or score is NaN or infinite; missing joints have score 0.

    Attributes:
        keypoints: float32 [rows, V, 2], pixels. A row is one person in one frame.
        scores: float32 [rows, V]; 0 where the joint is missing.
        offsets: int64 [n + 1]; clip i is rows ``offsets[i]:offsets[i + 1]``, [M_i, T_i] person by person.
        num_persons, num_frames: int32 [n]; M_i and T_i, at least 1.
        labels: int64 [n], in 0..K-1.
        image_sizes: int32 [n, 2], (h, w) pixels.
        name_hashes: uint64 [n], ``clip_builder.name_hash`` of each name.
        total_difference: float64 [n], D of the first person in raw pixels.
        names: n distinct names.
        splits: int64 clip indices of each split; ``split(name)`` gives one with a clear error.
        layout: what the V joints are.
        class_names: K names.
        source: where the clips came from, for people.

    Raises:
        ValueError: arrays of other dtypes or shapes, or that contradict each other.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    offsets: np.ndarray
    num_persons: np.ndarray
    num_frames: np.ndarray
    labels: np.ndarray
    image_sizes: np.ndarray
    name_hashes: np.ndarray
    total_difference: np.ndarray
    names: list[str]
    splits: dict[str, np.ndarray]
    layout: Layout
    class_names: tuple[str, ...]
    source: str = ""
    path: Path | None = None

    def __post_init__(self) -> None:
        self._check_shapes()
        self._check_values()

    def _check_shapes(self) -> None:
        sizes = {"V": self.layout.num_joints, "n": len(self.names), "n+1": len(self.names) + 1}
        if not self.names:
            raise ValueError("it holds no clip")
        for field, (dtype, shape) in _ARRAYS.items():
            array = getattr(self, field)
            sizes.setdefault("rows", array.shape[0] if array.ndim else 0)
            expected = tuple(side if isinstance(side, int) else sizes[side] for side in shape)
            if array.dtype != dtype or array.shape != expected:
                raise ValueError(
                    f"{field} must be {dtype} {list(expected)}, got {array.dtype} {list(array.shape)}"
                )
            if not array.flags.c_contiguous:
                raise ValueError(f"{field} must be contiguous")

    def _check_values(self) -> None:
        if min(self.num_persons.min(), self.num_frames.min()) < 1:
            raise ValueError("num_persons and num_frames must be at least 1")
        follow = np.array_equal(self.offsets, clip_builder.row_offsets(self.num_persons, self.num_frames))
        if not follow or (self.offsets[1:] <= self.offsets[:-1]).any():  # sums beyond 2^63 wrap
            raise ValueError("offsets do not follow from num_persons and num_frames")
        if self.offsets[-1] != len(self.keypoints):
            raise ValueError(
                f"offsets end at row {self.offsets[-1]}, but there are {len(self.keypoints)} rows"
            )
        if self.labels.min() < 0 or self.labels.max() >= self.num_classes:
            worst = int(np.argmax((self.labels < 0) | (self.labels >= self.num_classes)))
            raise ValueError(
                f"clip {self.names[worst]!r:.100} has label {self.labels[worst]}, "
                f"but there are {self.num_classes} classes"
            )
        if self.image_sizes.min() < 1:
            raise ValueError("image_sizes must be positive")
        if not (np.isfinite(self.total_difference).all() and self.total_difference.min() >= 0):
            raise ValueError("total_difference must be finite and not negative")
        if len(set(self.names)) != self.num_clips:
            twice = Counter(self.names).most_common(1)[0][0]
            raise ValueError(f"two clips are called {twice!r:.100}; names must be unique")
        if _repeats(self.name_hashes):
            raise ValueError("two clips have the same name hash; rename one of them")
        for split, members in self.splits.items():
            if members.dtype != np.int64 or members.ndim != 1:
                raise ValueError(f"split {split!r:.100} must be int64 clip indices, got {members.dtype}")
            if members.size and (members.min() < 0 or members.max() >= self.num_clips):
                raise ValueError(f"split {split!r:.100} holds indices outside 0..{self.num_clips - 1}")
            if _repeats(members):
                raise ValueError(f"split {split!r:.100} holds a clip twice")

    @property
    def num_clips(self) -> int:
        """n."""
        return len(self.names)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def max_persons(self) -> int:
        """The largest M."""
        return int(self.num_persons.max())

    def __len__(self) -> int:
        return self.num_clips

    def __repr__(self) -> str:
        splits = ", ".join(f"{name} {len(members)}" for name, members in self.splits.items())
        return (
            f"PackedClips({self.num_clips} clips, {self.num_classes} classes, layout {self.layout.name}, "
            f"splits: {splits or 'none'}, source: {self.source or 'unknown'})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a loaded pack travel to other processes as its path: they map the same file."""
        if self.path is not None:
            return PackedClips.load, (self.path,)
        return _rebuild, ({field: getattr(self, field) for field in self.__slots__},)

    def clip(self, index: int) -> PoseClip:
        """Clip ``index``, as views of the pack's arrays.

        Raises:
            IndexError: not in 0..n-1.
        """
        if not 0 <= index < self.num_clips:
            raise IndexError(f"clip {index} is outside 0..{self.num_clips - 1}")
        shape = (self.num_persons[index], self.num_frames[index], self.layout.num_joints)
        rows = slice(self.offsets[index], self.offsets[index + 1])
        height, width = self.image_sizes[index].tolist()
        return PoseClip(
            name=self.names[index],
            keypoints=self.keypoints[rows].reshape(*shape, 2),
            scores=self.scores[rows].reshape(shape),
            label=int(self.labels[index]),
            image_size=(height, width),
        )

    def split(self, name: str) -> np.ndarray:
        """Return int64 clip indices of a split.

        Raises:
            ValueError: there is no such split, or it is empty.
        """
        if name not in self.splits:
            there = ", ".join(self.splits) or "none at all"
            raise ValueError(f"no split {name!r} in the packed clips; there are: {there}")
        if not len(self.splits[name]):
            raise ValueError(f"split {name!r} of the packed clips is empty")
        return self.splits[name]

    def subset(self, indices: Sequence[int] | np.ndarray) -> "PackedClips":
        """Copy the clips of ``indices``, in that order; splits keep the members that remain, classes stay.

        Raises:
            ValueError: no index, one outside 0..n-1, or one twice.
        """
        chosen = np.asarray(indices)
        if chosen.ndim != 1 or chosen.size == 0 or chosen.dtype.kind not in "iu":
            raise ValueError(f"indices must be one or more clip indices, got {chosen.dtype} {chosen.shape}")
        if chosen.min() < 0 or chosen.max() >= self.num_clips:
            raise ValueError(
                f"indices must be in 0..{self.num_clips - 1}, got {chosen.min()}..{chosen.max()}"
            )
        chosen = chosen.astype(np.int64)
        rows = np.concatenate([np.arange(int(self.offsets[i]), int(self.offsets[i + 1])) for i in chosen])
        position = np.full(self.num_clips, -1, np.int64)
        position[chosen] = np.arange(len(chosen))
        per_clip = ("num_persons", "num_frames", "labels", "image_sizes", "name_hashes", "total_difference")
        return replace(
            self,
            keypoints=self.keypoints[rows],
            scores=self.scores[rows],
            offsets=clip_builder.row_offsets(self.num_persons[chosen], self.num_frames[chosen]),
            names=[self.names[i] for i in chosen],
            splits={name: _kept(position[members]) for name, members in self.splits.items()},
            path=None,
            **{field: getattr(self, field)[chosen] for field in per_clip},
        )

    def convert_layout(
        self, layout: str | Path | Layout, *, exchange_sides: bool | None = None
    ) -> "PackedClips":
        """Return the same clips in another layout, D computed anew; ``self`` where it is already so.

        Args:
            layout: the layout to convert to.
            exchange_sides: exchange left and right; by default between Kinect's layouts and all others, which name
                the sides of its mirrored picture the other way round.

        Raises:
            ValueError: no such layout, or no conversion to it is known.
        """
        target = get_layout(layout)
        if target == self.layout:
            return self
        keypoints, scores = convert(
            self.keypoints, self.scores, self.layout, target, exchange_sides=exchange_sides
        )
        total = clip_builder.differences(keypoints, scores, self.offsets, self.num_frames)
        return replace(
            self, keypoints=keypoints, scores=scores, total_difference=total, layout=target, path=None
        )

    @classmethod
    def from_clips(
        cls,
        clips: Iterable[PoseClip | Mapping[str, Any]],
        *,
        layout: str | Path | Layout,
        class_names: Sequence[str] | int | None = None,
        splits: Mapping[str, Iterable[str | int]] | None = None,
        source: str = "clips",
        keypoints: KeypointOptions | None = None,
    ) -> "PackedClips":
        """Pack clips held in memory.

        A joint is missing (score 0) where its score is ≤ 0, anything of it is not finite, or it lies at (0, 0) or
        (−1, −1), the marks of estimators. Coordinates that are not finite become (0, 0). Persons without any joint,
        and frames without anybody at both ends of a clip, are left out.

        Args:
            clips: ``PoseClip`` objects or dicts: keypoints [M, T, V, 2] in pixels, label, image_size (h, w);
                optional: scores [M, T, V], name (else ``clip_000000``), split. A third number of a joint is its score.
            layout: what the V joints are: a built-in name, a JSON file, or a ``Layout``.
            class_names: K names, or K; by default the largest label + 1.
            splits: clip names or indices of each split, beside those that the clips name themselves.
            keypoints: how coordinates and scores are to be taken: a least score, shares of the image, 3D in metres.

        Raises:
            ValueError: the first clip found wrong, by name: shape, V, no joint, no pixels, label, image size, name.
        """
        layout = get_layout(layout)
        checked = [check_clip(clip, layout, f"clip_{i:06d}", keypoints) for i, clip in enumerate(clips)]
        return cls.from_checked(checked, layout, class_names, splits, source)

    @classmethod
    def from_checked(
        cls,
        clips: Sequence[CheckedClip],
        layout: Layout,
        class_names: Sequence[str] | int | None = None,
        splits: Mapping[str, Iterable[str | int]] | None = None,
        source: str = "clips",
        *,
        progress: bool = False,
    ) -> "PackedClips":
        """Return ``from_clips`` for clips that ``check_clip`` has passed one by one."""
        return cls(**clip_builder.assemble(clips, layout, class_names, splits, source, progress))

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, beside ``path`` and then renamed.

        Raises:
            OSError: the folder is missing or the disk is full; ``path`` is then as it was.
        """
        encoded = [name.encode() for name in self.names]
        arrays = {field: getattr(self, field) for field in _ARRAYS}
        arrays["names"] = np.frombuffer(b"".join(encoded), np.uint8)
        arrays["name_offsets"] = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        arrays |= {f"split/{name}": members for name, members in self.splits.items()}
        texts = {
            "layout": json.dumps(self.layout.to_json()),
            "class_names": json.dumps(self.class_names),
            "splits": json.dumps(list(self.splits)),
            "source": self.source,
        }
        packed_file.write(path, arrays, texts)

    @classmethod
    def load(cls, path: str | Path) -> "PackedClips":
        """Map a packed file: nothing of keypoints or scores is read until it is used.

        Raises:
            ValueError: the file is damaged, of another kind or of another version; the text says how.
            OSError: the file cannot be opened.
        """
        arrays, texts = packed_file.read(path)
        try:
            blob, name_offsets = arrays.pop("names"), arrays.pop("name_offsets")
            split_names = parse_json(texts["splits"])
            if not isinstance(split_names, list) or not all(isinstance(name, str) for name in split_names):
                raise ValueError(f"splits must be a list of names, got {short(split_names)}")
            splits = {name: arrays.pop(f"split/{name}") for name in split_names}
            if set(arrays) != set(_ARRAYS):
                unfit = sorted(set(arrays) ^ set(_ARRAYS))
                raise ValueError(f"arrays {unfit[:12]} are missing or unknown")
            names = packed_file.split_names(blob, name_offsets, arrays["offsets"].size - 1)
            layout = Layout.from_json(parse_json(texts["layout"]))
            class_names = parse_json(texts["class_names"])
            if not isinstance(class_names, list):
                raise ValueError(f"class_names must be a list, got a {type(class_names).__name__}")
            packed = cls(
                **arrays,
                names=names,
                splits=splits,
                layout=layout,
                class_names=clip_builder.class_name_tuple(class_names, None),
                source=texts["source"],
                path=Path(path).resolve(),
            )
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{error!s:.200} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{path}: damaged packed file: {reason}") from error
        check_header(path)
        return packed


def _repeats(values: np.ndarray) -> bool:
    ordered = np.sort(values)
    return bool((ordered[1:] == ordered[:-1]).any())


def _kept(positions: np.ndarray) -> np.ndarray:
    return positions[positions >= 0]


def _rebuild(fields: dict[str, Any]) -> PackedClips:
    return PackedClips(**fields)
