"""What the people of the synthetic set do: one function (pose, t, style) per action and role.

Each moves the handles of ``pose`` in place, for times ``t`` [T] from 0 to 1, as a right-handed person would.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fastpose.data.synthetic.body import LEFT, RIGHT, Pose

MOUTH = np.array([-0.24, 0.13, 0.4])
EAR = np.array([-0.04, 0.26, 0.1])
FOREHEAD = np.array([-0.12, 0.36, 0.33])
TARGET_SPREAD = 0.05  # standard deviation of where a hand or foot goes, in arm or leg lengths


@dataclass(slots=True)
class Style:
    """How one performance differs from the next."""

    rng: np.random.Generator
    amplitude: float  # about 1
    tempo: float  # about 1; higher is faster

    def around(self, point: ArrayLike, spread: float = 1.0) -> np.ndarray:
        """Return a target near ``point`` [3]."""
        return np.asarray(point) + self.rng.normal(0, spread * TARGET_SPREAD, 3)

    def cycles(self, low: float, high: float) -> float:
        """Return how often a periodic motion repeats within the clip."""
        return self.tempo * self.rng.uniform(low, high)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability


Motion = Callable[[Pose, np.ndarray, Style], None]


def keyframes(t: np.ndarray, times: ArrayLike, values: ArrayLike) -> np.ndarray:
    """Return values at ``t`` [T] that rest at each keyframe and ease from one to the next, [T, ...]."""
    at, held = np.asarray(times), np.asarray(values, float)
    last = np.searchsorted(at, t, side="right").clip(1, len(at) - 1)
    share = ((t - at[last - 1]) / (at[last] - at[last - 1])).clip(0, 1)
    share = (share * share * (3 - 2 * share)).reshape(-1, *[1] * (held.ndim - 1))
    return held[last - 1] * (1 - share) + held[last] * share


def pulse(t: np.ndarray, start: float, stop: float, ramp: float) -> np.ndarray:
    """Return 0, then 1 between ``start`` and ``stop``, then 0 again, [T]."""
    return keyframes(t, [start - ramp, start, stop, stop + ramp], [0, 1, 1, 0])


def swing(t: np.ndarray, cycles: float, phase: float = 0.0) -> np.ndarray:
    return np.sin(2 * np.pi * (cycles * t + phase))


def _blend(track: np.ndarray, target: np.ndarray, share: np.ndarray) -> None:
    """Move ``track`` [T, 3] towards ``target`` by ``share`` [T], in place."""
    track += share[:, None] * (target - track)


def stand(pose: Pose, t: np.ndarray, style: Style) -> None:
    """Start every motion: posture, sway, and what the idle arms do."""
    rng = style.rng
    for track, size in ((pose.pelvis, 0.012), (pose.hips, 0.03), (pose.spine, 0.04), (pose.neck, 0.07)):
        track += size * rng.normal(0, 1, 3)
        track += (
            size
            * rng.normal(0, 0.6, 3)
            * np.sin(2 * np.pi * (rng.uniform(0.3, 1.2, 3) * t[:, None] + rng.random(3)))
        )
    pose.hips[:, 1] += rng.normal(0, 0.12)
    pose.feet[:, :, [0, 2]] += rng.normal(0, 0.05, (2, 2))
    pose.hands += (
        rng.normal(0, 0.06, (2, 3)) + 0.025 * rng.normal(0, 1, (2, 3)) * swing(t, 0.8)[:, None, None]
    )
    if style.chance(0.2):  # a hand on the hip, in front of the belly, or fidgeting
        rest = style.around([(0.22, -0.72, 0.05), (-0.25, -0.55, 0.35), (0.1, -0.55, 0.45)][rng.integers(3)])
        pose.hands[:, LEFT] = rest + 0.04 * swing(t, rng.uniform(0.5, 2))[:, None]
        pose.elbows[:, LEFT] = 0.5


def _hand_to(
    pose: Pose, t: np.ndarray, style: Style, target: np.ndarray, elbow: float, hold: tuple[float, float]
) -> np.ndarray:
    """Bring the right hand to ``target`` and hold it there; returns the share [T] of being there."""
    start, stop = hold + style.rng.normal(0, 0.05, 2)
    there = pulse(t, start, stop, style.rng.uniform(0.16, 0.28) / style.tempo)
    _blend(pose.hands[:, RIGHT], style.around(target), there)
    pose.elbows[:, RIGHT] += there * (elbow + style.rng.normal(0, 0.15) - 0.15)
    return there


def drink(pose, t, style):
    there = _hand_to(pose, t, style, MOUTH, 0.3, (0.35, 0.75))
    sip = pulse(t, 0.45, 0.7, 0.12) * there * style.amplitude
    pose.neck[:, 0] -= style.rng.uniform(0.1, 0.4) * sip
    pose.hands[:, RIGHT, 1] += style.rng.uniform(0.0, 0.12) * sip


def phone(pose, t, style):
    there = _hand_to(pose, t, style, EAR, 0.3, (0.38, style.rng.choice([0.8, 1.2])))
    pose.neck[:, 2] -= style.rng.uniform(0.05, 0.35) * there
    pose.neck[:, 1] += 0.1 * swing(t, style.cycles(0.5, 1)) * there


def salute(pose, t, style):
    there = _hand_to(pose, t, style, FOREHEAD, 0.75, (0.35, 0.72))
    pose.neck[:, 0] -= style.rng.uniform(0, 0.12) * there
    pose.feet[:, :, 0] *= 1 - 0.5 * there[:, None]


def wave(pose, t, style):
    height = style.rng.choice([0.1, 0.45, 0.75])
    there = _hand_to(pose, t, style, np.array([0.25, height, 0.3]), 0.4, (0.25, 0.85))
    waving = there * swing(t, style.cycles(2, 4), style.rng.random())
    pose.hands[:, RIGHT, 0] += style.amplitude * style.rng.uniform(0.1, 0.26) * waving
    pose.spine[:, 2] += 0.03 * waving


def throw(pose, t, style):
    release = style.rng.uniform(0.45, 0.65)
    size = style.amplitude
    overarm = [(0.35, 0.3, -0.35), (0.1, 0.5, 0.75), (-0.25, -0.25, 0.65)]
    underarm = [(0.15, -0.75, -0.45), (0.05, 0.05, 0.9), (0.0, 0.35, 0.7)]
    path = [style.around(point) * size for point in (underarm if style.chance(0.3) else overarm)]
    rest = pose.hands[:, RIGHT].mean(0)
    times = [0.05, release - 0.2, release, release + 0.15, 0.98]
    pose.hands[:, RIGHT] = keyframes(t, times, [rest, *path, rest])
    pose.elbows[:, RIGHT] = keyframes(t, times, [0.15, 0.7, 0.6, 0.3, 0.15])
    pose.spine += (
        keyframes(t, times, [(0, 0, 0), (-0.1, -0.45, 0), (0.2, 0.4, 0), (0.25, 0.45, 0), (0, 0, 0)]) * size
    )
    if style.chance(0.6):
        stride = keyframes(t, times, [0, 0.1, 0.35, 0.35, 0.3]) * size
        pose.feet[:, LEFT, 2] += stride
        pose.pelvis[:, 2] += 0.6 * stride


def _lower(pose: Pose, style: Style, share: np.ndarray, leaning: np.ndarray) -> None:
    """Seat the body: ``share`` [T] from standing 0 to seated 1; it leans forward by ``leaning`` [T]."""
    depth = style.rng.uniform(0.35, 0.55)
    pose.pelvis += share[:, None] * (0, -depth, -style.rng.uniform(0.3, 0.45))
    bend = style.rng.uniform(0.35, 0.8) * style.amplitude * leaning
    pose.hips[:, 0] += 0.6 * bend - 0.1 * share
    pose.spine[:, 0] += 0.6 * bend
    for hand in (RIGHT, LEFT):
        _blend(pose.hands[:, hand], style.around((0.0, -0.62, 0.5)), share)


def sit_down(pose, t, style):
    middle, half = style.rng.uniform(0.42, 0.58), style.rng.uniform(0.16, 0.28) / style.tempo
    times = [middle - half, middle, middle + half]
    _lower(pose, style, keyframes(t, times[::2], [0, 1]), keyframes(t, times, [0, 1, 0]))


def stand_up(pose, t, style):
    middle, half = style.rng.uniform(0.42, 0.58), style.rng.uniform(0.16, 0.28) / style.tempo
    times = [middle - half, middle, middle + half]
    _lower(pose, style, keyframes(t, times[::2], [1, 0]), keyframes(t, times, [0, 1, 0]))


def clap(pose, t, style):
    meeting = style.around((-0.3, style.rng.choice([-0.25, 0.05, 0.35]), 0.5))
    raised = pulse(t, style.rng.uniform(0.1, 0.25), 0.9, 0.2)
    apart = (
        style.rng.uniform(0.08, 0.2)
        * style.amplitude
        * (1 + swing(t, style.cycles(3, 5), style.rng.random()))
    )
    for hand in (RIGHT, LEFT):
        _blend(pose.hands[:, hand], meeting, raised)
        pose.hands[:, hand, 0] += raised * apart
        pose.elbows[:, hand] += 0.25 * raised


def kick(pose, t, style):
    contact = style.rng.uniform(0.45, 0.6)
    height = style.rng.uniform(0.2, 0.6) * style.amplitude
    times = [0.1, contact - 0.17 / style.tempo, contact, 0.95]
    path = [(0, 0, 0), (0, 0.15, -0.4), (style.rng.normal(0, 0.1), height, 0.85), (0, 0, 0)]
    pose.feet[:, RIGHT] += keyframes(t, times, path)
    pose.spine[:, 0] -= keyframes(t, times, [0, -0.1, 0.2, 0])
    pose.hands[:, LEFT, 2] += keyframes(t, times, [0, -0.2, 0.35, 0])
    pose.hands[:, RIGHT, 2] += keyframes(t, times, [0, 0.2, -0.35, 0])


def _bounce(pose: Pose, style: Style, height: np.ndarray) -> None:
    """Raise (or, below 0, crouch) the body by ``height`` [T] leg lengths."""
    pose.pelvis[:, 1] += height
    pose.feet[:, :, 1] += np.maximum(height, 0)[:, None] * style.rng.uniform(0.9, 1.3)
    pose.spine[:, 0] += 1.2 * np.maximum(-height, 0)


def hop(pose, t, style):
    lifted = pulse(t, 0.15, 0.9, 0.12)
    hops = lifted * np.abs(swing(t, style.cycles(1, 2), style.rng.random()))
    _bounce(pose, style, style.rng.uniform(0.08, 0.16) * style.amplitude * (1.5 * hops - 0.4 * lifted))
    leg = RIGHT if style.chance(0.5) else LEFT
    pose.feet[:, leg] += lifted[:, None] * style.around((0, 0.3, -0.25))
    for hand in (RIGHT, LEFT):
        pose.hands[:, hand] += lifted[:, None] * style.around((0.2, 0.25, 0.1))


def jump(pose, t, style):
    times, heights = (0.15, 0.35, 0.5, 0.65, 0.85), np.array([0, -0.25, 0.24, -0.15, 0])
    _bounce(pose, style, keyframes((t * 2) % 1 if style.chance(0.3) else t, times, heights * style.amplitude))
    arms = keyframes(t, times, [0, -0.4, 1, 0.2, 0]) * style.rng.uniform(0.1, 0.8)
    for hand in (RIGHT, LEFT):
        pose.hands[:, hand] += arms[:, None] * (0.1, 0.7, 0.4)


def bow(pose, t, style):
    start, stop = (np.array([0.45, 0.6]) + style.rng.normal(0, 0.06, 2)).cumsum() * (1, 0.6)
    down = pulse(t, start, stop, 0.22) * style.amplitude
    depth = style.rng.uniform(0.1, 0.7)
    pose.spine[:, 0] += depth * down
    pose.hips[:, 0] += 0.4 * depth * down
    pose.pelvis[:, 2] -= 0.12 * depth * down
    pose.neck[:, 0] += style.rng.uniform(0.25, 0.6) * down


def fall(pose, t, style):
    start = style.rng.uniform(0.15, 0.35)
    down = keyframes(t, [start, start + 0.45 / style.tempo], [0, 1]) ** 1.5
    way = style.rng.uniform(-np.pi, np.pi)  # 0 is forward
    tilt = style.rng.uniform(1.1, 1.45) * down
    pose.hips += np.stack([tilt * np.cos(way), style.rng.normal(0, 0.3) * down, tilt * np.sin(way)], -1)
    pose.pelvis += down[:, None] * (-0.3 * np.sin(way), -0.82, 0.4 * np.cos(way))
    for hand in (RIGHT, LEFT):
        pose.hands[:, hand] += down[:, None] * style.around((0.25, 0.6, 0.4), 2)


def step_forward(pose: Pose, t: np.ndarray, style: Style, length: np.ndarray) -> None:
    """Walk by ``length`` [T] leg lengths."""
    pose.pelvis[:, 2] += length
    moving = np.gradient(length, t)
    stride = swing(t, style.cycles(1.5, 2.5))
    for foot, sign in ((LEFT, 1), (RIGHT, -1)):
        pose.feet[:, foot, 2] += length + 0.12 * np.tanh(moving) * sign * stride
        pose.feet[:, foot, 1] += 0.1 * np.tanh(np.abs(moving)) * np.maximum(sign * stride, 0)


def punch(pose, t, style):
    hit = 0.5
    aim = style.around((-0.3, style.rng.choice([0.15, 0.35]), 0.92))
    guard = style.around((-0.05, -0.2, 0.3))
    rest = pose.hands[:, RIGHT].mean(0)
    times = [0.1, hit - 0.15, hit, hit + 0.12, 0.9]
    pose.hands[:, RIGHT] = keyframes(t, times, [rest, guard, aim, guard, rest])
    pose.elbows[:, RIGHT] += 0.4 * pulse(t, hit - 0.15, hit + 0.15, 0.1)
    pose.spine += (
        keyframes(t, times, [(0, 0, 0), (0, -0.3, 0), (0.15, 0.4, 0), (0, 0, 0), (0, 0, 0)]) * style.amplitude
    )
    step_forward(pose, t, style, keyframes(t, [0.2, hit, 0.95], [0, style.rng.uniform(0.15, 0.35), 0.1]))


def take_punch(pose, t, style):
    struck = keyframes(t, [0.48, 0.6, 0.95], [0, 1.2, 0.2]) * style.amplitude
    pose.spine[:, 0] -= style.rng.uniform(0.1, 0.4) * struck
    pose.neck[:, 0] -= style.rng.uniform(0.1, 0.4) * struck
    step_forward(pose, t, style, -style.rng.uniform(0.05, 0.3) * struck)
    for hand in (RIGHT, LEFT):
        pose.hands[:, hand] += struck[:, None] * style.around((0.05, 0.3, 0.25), 2)


def _approach(pose: Pose, t: np.ndarray, style: Style, gap: float, closest: float) -> np.ndarray:
    """Come nearer by half of ``gap`` leg lengths; return the share [T] of having arrived."""
    near = keyframes(t, [0.0, closest - 0.1, closest + 0.25, 1.15], [0, 1, 1, 0.3])
    step_forward(pose, t, style, gap / 2 * near)
    return near


def hug(pose, t, style):
    near = _approach(pose, t, style, style.rng.uniform(0.95, 1.1), 0.5)
    closed = pulse(t, 0.5, 0.85, 0.25)
    for hand, height in ((RIGHT, style.rng.uniform(-0.1, 0.25)), (LEFT, style.rng.uniform(-0.3, 0.0))):
        _blend(pose.hands[:, hand], style.around((0.0, height, 0.7)), closed)
        pose.hands[:, hand, 0] += 0.35 * closed * (1 - closed) * 4
        pose.elbows[:, hand] += 0.4 * closed
    pose.spine[:, 0] += 0.15 * near


def shake_hands(pose, t, style):
    _approach(pose, t, style, style.rng.uniform(0.35, 0.55), 0.4)
    there = pulse(t, 0.4, 0.78, 0.2)
    _blend(pose.hands[:, RIGHT], style.around((-0.28, -0.42, 0.72)), there)
    pose.hands[:, RIGHT, 1] += (
        there * style.amplitude * style.rng.uniform(0.03, 0.1) * swing(t, style.cycles(2, 4))
    )
    pose.spine[:, 0] += style.rng.uniform(0, 0.2) * there


MOTIONS: dict[int, tuple[Motion, ...]] = {
    1: (drink,),
    7: (throw,),
    8: (sit_down,),
    9: (stand_up,),
    10: (clap,),
    23: (wave,),
    24: (kick,),
    26: (hop,),
    27: (jump,),
    28: (phone,),
    35: (bow,),
    38: (salute,),
    43: (fall,),
    50: (punch, take_punch),
    55: (hug, hug),
    58: (shake_hands, shake_hands),
}
"""One motion per person, by NTU's action number; two people face each other."""

DISTANCE = {50: 1.0, 55: 1.15, 58: 1.1}
"""Metres between two people at the start."""
