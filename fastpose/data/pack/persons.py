"""Persons of a clip [M, T, V, 2]: how alike two poses are, who keeps which slot, and who comes first.

Keypoints are pixels. Where nothing else is said, a joint counts as ``present_joints`` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpose.data.pack.presence import present_joints

# One tolerance for all joints, in sizes of the body: COCO's differ by joint, but are known for its 17 alone, and
# say how well people mark joints, whereas here they move from one frame to the next.
TOLERANCE = 0.1
LEAST_SIZE = 10.0  # pixels; of a body of which one or two joints are seen
MAX_PAUSE = 15  # frames, half a second: who was away for longer may be anywhere
# Sizes of a body that an exchange of slots saves in all: at least, and how much at once or altogether is no chance.
LEAST_GAIN, CLEAR_GAIN, CLEAR_TOTAL = 0.1, 0.5, 1.0
OFTEN = 0.5  # of the joints of the person seen most
_MOST_AT_ONCE = 2**22  # joints that are compared at a time: crowds would fill the memory


@dataclass(frozen=True, slots=True)
class Poses:
    """n poses, laid out for ``similarity``.

    Attributes:
        points: float32 [n, 2, V], x and y in pixels.
        seen: float32 [n, V], 1 or 0.
        num_seen: float32 [n], joints.
        boxes: float32 [n, 4], low x, low y, high x, high y of the seen joints; inf and -inf where there are none.
        sizes: float32 [n], the diagonals of the boxes.
    """

    points: NDArray[np.float32]
    seen: NDArray[np.float32]
    num_seen: NDArray[np.float32]
    boxes: NDArray[np.float32]
    sizes: NDArray[np.float32]

    @classmethod
    def of(cls, keypoints: NDArray[np.float32], scores: NDArray[np.float32]) -> "Poses":
        """Return the poses of keypoints [n, V, 2] with scores [n, V]."""
        present = present_joints(keypoints, scores)
        low = np.where(present[..., None], keypoints, np.float32(np.inf)).min(axis=1)
        high = np.where(present[..., None], keypoints, np.float32(-np.inf)).max(axis=1)
        sizes = np.maximum(np.hypot(*np.maximum(high - low, 0).T), np.float32(LEAST_SIZE))
        seen = present.astype(np.float32)
        points = np.where(present[:, None], keypoints.transpose(0, 2, 1), np.float32(0))
        return cls(points, seen, seen.sum(axis=1), np.concatenate([low, high], axis=1), sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, rows: Any) -> "Poses":
        return Poses(*(part[rows] for part in self.parts()))

    def parts(self) -> tuple[NDArray[np.float32], ...]:
        """Return the five arrays."""
        return self.points, self.seen, self.num_seen, self.boxes, self.sizes

    def moved(self, shift: NDArray[np.float32]) -> "Poses":
        """Return the poses, each moved by its [n, 2] pixels."""
        boxes = self.boxes + np.concatenate([shift, shift], axis=1)
        return Poses(self.points + shift[..., None], self.seen, self.num_seen, boxes, self.sizes)


def similarity(a: Poses, b: Poses) -> NDArray[np.float32]:
    """Return how alike poses are, float32 [n of a, n of b]: 1 for equal ones, near 0 for those far apart.

    It is OKS over the joints that both poses have, by the share of these among the joints that either has, and
    the IoU of the boxes for the rest: a whole body is compared joint by joint, two halves by where they are. A
    joint counts 1 / (1 + (d / (0.1 · size))²) of its distance d, where COCO's OKS has exp(-x²/2): this stays above 0
    for someone who runs half a body's length from frame to frame. The size is the larger box's diagonal: a
    person seen from the side is no smaller than from the front.
    """
    rows = max(1, _MOST_AT_ONCE // max(1, len(b) * b.seen.shape[-1]))
    if len(a) <= rows:
        return _alike(Poses(*(part[:, None] for part in a.parts())), b)
    return np.concatenate([similarity(a[start : start + rows], b) for start in range(0, len(a), rows)])


def similarity_in_turn(a: Poses, b: Poses) -> NDArray[np.float32]:
    """Return the ``similarity`` of each pose of ``a`` and the one in its place of ``b``, float32 [n]."""
    return _alike(a, b)


def _alike(a: Poses, b: Poses) -> NDArray[np.float32]:
    """Return the similarity of poses [...] that are broadcast against each other."""
    reach = np.square(np.float32(TOLERANCE) * np.maximum(a.sizes, b.sizes))[..., None]
    step = a.points - b.points  # [..., 2, V]
    step *= step
    near = step[..., 0, :]  # [..., V]
    near += step[..., 1, :]
    near += reach
    np.divide(reach, near, out=near)
    common = np.einsum("...v,...v->...", a.seen, b.seen)
    either = a.num_seen + b.num_seen
    either -= common
    np.maximum(either, 1, out=either)
    alike = np.einsum("...v,...v,...v->...", near, a.seen, b.seen)
    alike /= either
    if (common < either).any():
        alike += (1 - common / either) * _box_overlap(a.boxes, b.boxes)
    return alike


def _box_overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the IoU of boxes [..., 4] that are broadcast against each other; 0 where one has no area."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    both = np.maximum(sides, 0).prod(axis=-1)
    area_a, area_b = (np.maximum(of[..., 2:] - of[..., :2], 0).prod(axis=-1) for of in (a, b))
    return both / np.maximum(area_a + area_b - both, np.float32(1e-6))


def assign(cost: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows, in order, and columns of ``cost`` [n, m]: min(n, m) pairs of least sum, none in two of them."""
    if min(cost.shape) == 1:
        row, column = np.unravel_index(cost.argmin(), cost.shape)
        return np.array([row]), np.array([column])
    from scipy.optimize import linear_sum_assignment  # slow to import, for the few clips that leave a choice

    return linear_sum_assignment(cost)


def rank_persons(
    keypoints: NDArray[np.float32], scores: NDArray[np.float32], starts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return int64 [n]: the persons, those who matter most first.

    Persons with at least half as many joints, over all frames, as the one with most come first, by falling
    motion: the variance of a joint's place over time, x and y added, pixels², meaned over joints. The others
    follow, by falling number of joints. Ties stay in order.

    Args:
        keypoints: [rows, V, 2], person by person; scores: [rows, V].
        starts: int64 [n], the first row of each person.
    """
    present = present_joints(keypoints, scores)
    rows = np.diff(starts, append=len(keypoints))
    seen = np.add.reduceat(present, starts, dtype=np.float64)  # [n, V]
    held = np.where(present[..., None], keypoints, 0).astype(np.float64)
    mean = np.add.reduceat(held, starts) / np.maximum(seen, 1)[..., None]
    spread = np.square(held - np.repeat(mean, rows, axis=0)).sum(axis=-1) * present
    joints = seen.sum(axis=1)
    motion = np.add.reduceat(spread, starts).sum(axis=1) / np.maximum(joints, 1)
    often = joints >= OFTEN * joints.max()
    # Rounded, since who stands still would be ordered by what float64 leaves of a mean.
    return np.lexsort((np.where(often, -np.round(motion, 3), -joints), ~often))


def share_slots(present: NDArray[np.bool_], order: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return the slot of each person, int64 [n], -1 without one: in ``order``, the first slot free in all their frames.

    So do NTU's bodies become actors: those who are never seen together can share a slot.

    Args:
        present: bool [n, T], the frames of each person.
        order: int64 [n], who chooses first.
        most: slots.
    """
    return share_slots_of_frames(
        [np.flatnonzero(frames) for frames in present], present.shape[1], order, most
    )


def share_slots_of_frames(
    frames: Sequence[NDArray[np.int64]], num_frames: int, order: NDArray[np.int64], most: int
) -> NDArray[np.int64]:
    """Return ``share_slots`` of persons whose ``frames`` of T are listed, as most are seen in few of a long clip."""
    slots = np.full(len(frames), -1)
    taken: list[NDArray[np.bool_]] = []
    for person in order.tolist():
        own = frames[person]
        slot = next((i for i, used in enumerate(taken) if not used[own].any()), len(taken))
        if slot == most:
            continue
        if slot == len(taken):
            taken.append(np.zeros(num_frames, np.bool_))
        slots[person] = slot
        taken[slot][own] = True
    return slots


def choose_persons(
    keypoints: NDArray[np.float32], scores: NDArray[np.float32], most: int
) -> NDArray[np.int64]:
    """Return who stands in each of at most ``most`` slots of a clip in each frame, int64 [slots, T].

    ``keypoints[chosen, np.arange(T)]`` is the clip of these. They are chosen by ``rank_persons``; further persons join
    the first one with whom they share no frame (``share_slots``), and who finds none is left out.

    Args:
        keypoints: [M, T, V, 2]; scores: [M, T, V].
    """
    num_persons, num_frames, num_joints = scores.shape
    flat = keypoints.reshape(-1, num_joints, 2), scores.reshape(-1, num_joints)
    order = rank_persons(*flat, np.arange(num_persons) * num_frames)
    present = np.any(present_joints(keypoints, scores), axis=-1)  # [M, T]
    slots = share_slots(present, order, most)
    chosen = np.empty((slots.max() + 1, num_frames), np.int64)
    for person in order[slots[order] >= 0][
        ::-1
    ].tolist():  # a slot's first person last: absent, where nobody is
        chosen[slots[person]] = person
    for person in np.flatnonzero(slots >= 0).tolist():
        chosen[slots[person], present[person]] = person
    return chosen


def match_slots(
    keypoints: NDArray[Any], scores: NDArray[Any] | None, present: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[Any] | None, int]:
    """Give persons whose slots change from frame to frame a slot each, as detectors that track nobody leave them.

    In a frame, persons are exchanged where this brings them nearer to where they were when last seen, at most 15
    frames before: by at least a tenth of a body's size in all, and to within a third of how far they would have come
    otherwise. This is done where it saves half a body's size at once, or a whole one in the clip: persons who pass
    each other keep their slots, and a clip whose slots are steady is not touched.

    Args:
        keypoints: [M, T, V, 2], any real dtype.
        scores: [M, T, V], or None.
        present: bool [M, T, V], the joints that count.

    Returns:
        Keypoints and scores of the same shapes (the arrays given, if nobody is exchanged), and the number of
        frames in which a person has another slot than before.
    """
    num_persons, num_frames = present.shape[:2]
    if num_persons < 2 or num_frames < 2:
        return keypoints, scores, 0
    with np.errstate(over="ignore"):
        points = keypoints.astype(np.float32, copy=False)
    size = _typical_size(points, present)
    if not _may_exchange(points, present, size):
        return keypoints, scores, 0
    order, gains = _steady_order(points, present, size)  # [T, M], [T]
    if gains.max() < CLEAR_GAIN and gains.sum() < CLEAR_TOTAL:
        return keypoints, scores, 0
    exchanged = int((order != np.arange(num_persons)).any(axis=1).sum())
    chosen = order.T, np.arange(num_frames)
    return keypoints[chosen], None if scores is None else scores[chosen], exchanged


def _typical_size(keypoints: NDArray[np.float32], present: NDArray[np.bool_]) -> float:
    """Return the median diagonal of the boxes of a clip's poses, those of 8 frames at most."""
    frames = slice(None, None, -(-present.shape[1] // 8))
    seen = present[:, frames, :, None]
    points = keypoints[:, frames]
    high = np.where(seen, points, -np.inf).max(axis=2)
    low = np.where(seen, points, np.inf).min(axis=2)
    sizes = np.sort(np.hypot(*np.moveaxis(np.maximum(high - low, 0), -1, 0)), axis=None)
    sizes = sizes[np.count_nonzero(sizes == 0) :]  # a pose without joints has none
    return max(float(sizes[len(sizes) // 2]), LEAST_SIZE) if len(sizes) else LEAST_SIZE


def _may_exchange(points: NDArray[np.float32], present: NDArray[np.bool_], size: float) -> bool:
    """Return whether some frame may be one in which ``_steady_order`` exchanges persons: what most clips are spared."""
    there = np.any(present, axis=-1)  # [M, T]
    frames = np.arange(there.shape[1])
    if there.all():
        last = np.broadcast_to(frames[:-1], (len(there), len(frames) - 1))
    else:
        last = np.maximum.accumulate(np.where(there, frames, -MAX_PAUSE - 1), axis=1)[:, :-1]
    known = frames[1:] - last <= MAX_PAUSE  # [M, T - 1]
    now, before = np.arange(len(there))[:, None], np.maximum(last, 0)
    stay = _distances(points[:, 1:], present[:, 1:], points[now, before], present[now, before])
    stay = (stay * (there[:, 1:] & known)).sum(axis=0)
    far = np.flatnonzero(stay >= LEAST_GAIN * size)
    if not len(far):
        return False
    here, seen = points[:, None, far + 1], present[:, None, far + 1]  # [M, 1, F, V, 2], [M, 1, F, V]
    change = _distances(here, seen, points[now, before[:, far]], present[now, before[:, far]])
    change *= there[:, None, far + 1] & known[:, far]  # [slot, slot before, F]
    least = change.min(axis=1).sum(axis=0)
    return _pays(stay[far] / size, least / size).any()


def _pays(stay: Any, change: Any) -> Any:
    """Return whether an exchange pays: ways of all persons, in sizes of a body, without and with it."""
    gain = stay - change
    return (gain >= LEAST_GAIN) & (gain >= 2 * change)


def _distances(
    a: NDArray[np.float32], seen_a: NDArray[np.bool_], b: NDArray[np.float32], seen_b: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """Return the mean distance of the joints that both poses [..., V, 2] have; 0 where there are none."""
    both = seen_a & seen_b
    with np.errstate(over="ignore"):  # a missing joint may lie anywhere
        step = a - b
        step *= step
        far = np.sqrt(step[..., 0] + step[..., 1])
    return np.where(both, far, 0).sum(axis=-1) / np.maximum(both.sum(axis=-1), 1)


def _steady_order(
    keypoints: NDArray[np.float32], present: NDArray[np.bool_], size: float
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Return the slot in which each person stands in each frame, int64 [T, M], and what each exchange saves, [T]."""
    num_persons, num_frames = present.shape[:2]
    there = np.any(present, axis=-1)
    poses, seen = keypoints[:, 0].copy(), present[:, 0].copy()  # of each person, when last seen
    away = np.where(there[:, 0], 0, MAX_PAUSE + 1)  # frames since then
    slots = everyone = np.arange(num_persons)  # slots of each person
    order = np.empty((num_frames, num_persons), np.int64)
    order[0] = slots
    gains = np.zeros(num_frames)
    for frame in range(1, num_frames):
        now, seen_now, known = keypoints[:, frame], present[:, frame], away < MAX_PAUSE
        far = _distances(now[:, None], seen_now[:, None], poses, seen) / size  # [slot, person]
        comparable = there[:, frame, None] & known
        # Whoever is met for the first time costs as much as the farthest: there is nothing to gain by it.
        unknown = far[comparable].max(initial=0)
        cost = np.where(comparable, far, unknown) * there[:, frame, None]
        stay = cost[slots, everyone].sum()
        if stay >= LEAST_GAIN:
            # Of equal choices, that in which nobody moves.
            favoured = cost.copy()
            favoured[slots, everyone] -= 1e-4
            at, who = assign(favoured)
            met_first = unknown * (there[at, frame] & ~comparable[at, who]).sum()
            if _pays(stay - met_first, cost[at, who].sum() - met_first):
                gains[frame] = stay - cost[at, who].sum()
                slots = at[np.argsort(who)]
        order[frame] = slots
        met = there[slots, frame]
        poses[met], seen[met] = now[slots[met]], seen_now[slots[met]]
        away = np.where(met, 0, away + 1)
    return order, gains
