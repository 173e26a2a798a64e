"""A Kinect-like sensor: where its three cameras stand, what it sees, and how its measurements err."""

from dataclasses import dataclass

import numpy as np

from fastpose.data.synthetic.body import PARENTS

LOST, INFERRED, TRACKED = 0, 1, 2
COLOR_SIZE, DEPTH_SIZE = (1080, 1920), (424, 512)  # (h, w)
COLOR_FOCAL, COLOR_CENTRE = 1060.0, (960.0, 540.0)  # pixels
DEPTH_FOCAL, DEPTH_CENTRE = 365.0, (256.0, 212.0)
AZIMUTHS = {1: 0.0, 2: -np.pi / 4, 3: np.pi / 4}
"""By camera number, round the scene; performers face camera 2 in replication 1, camera 3 in replication 2."""

_TORSO_RADIUS = 0.13
_LEAVES = [3, 15, 19, 21, 22, 23, 24]  # Kinect gives no orientation where a chain of bones ends
_OFTEN_LOST = [6, 7, 10, 11, 14, 15, 18, 19, 21, 22, 23, 24]


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera that looks at the middle of the scene."""

    azimuth: float
    distance: float
    height: float

    def view(self, joints: np.ndarray) -> np.ndarray:
        """Map world joints [..., 3] to camera space [..., 3]: x to the image's right, y up, z away; metres."""
        pitch = np.arctan2(self.height - 0.9, self.distance)
        (sa, sp), (ca, cp) = np.sin([self.azimuth, pitch]), np.cos([self.azimuth, pitch])
        x = ca * joints[..., 0] - sa * joints[..., 2]
        z = sa * joints[..., 0] + ca * joints[..., 2] + self.distance
        y = joints[..., 1] - self.height
        return np.stack([x, cp * y + sp * z, cp * z - sp * y], -1)


def project(points: np.ndarray, focal: float, centre: tuple[float, float]) -> np.ndarray:
    """Return pixels [..., 2] of camera-space points [..., 3]."""
    return points[..., :2] / points[..., 2:] * (focal, -focal) + centre


def hidden_joints(joints: np.ndarray, torsos: list[np.ndarray]) -> np.ndarray:
    """Return which camera-space joints [T, 25, 3] lie behind the torso of one of these bodies, bool [T, 25]."""
    hidden = np.zeros(joints.shape[:2], bool)
    for torso in torsos:
        foot, spine = torso[:, None, 0], torso[:, None, 20] - torso[:, None, 0]
        flat = spine[..., :2]
        share = ((joints - foot)[..., :2] * flat).sum(-1) / ((flat * flat).sum(-1) + 1e-6)
        gap = joints - foot - share.clip(0, 1)[..., None] * spine
        hidden |= ((gap[..., :2] ** 2).sum(-1) < _TORSO_RADIUS**2) & (gap[..., 2] > 0.08)
    return hidden


def _drop(state: np.ndarray, rng: np.random.Generator) -> None:
    """Lose a few joints for a few frames each, extremities most often, in place."""
    for _ in range(rng.poisson(3.0)):
        joint = rng.choice(_OFTEN_LOST) if rng.random() < 0.8 else rng.integers(25)
        start, length = rng.integers(len(state)), rng.integers(2, 11)
        state[start : start + length, joint] = LOST if rng.random() < 0.3 else INFERRED


def measure(
    joints: np.ndarray, torsos: list[np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the sensor reports of camera-space joints [T, 25, 3]: joints [T, 25, 3], tracking states [T, 25].

    Joints that it cannot see lag behind the true ones and shake more.
    """
    frames = len(joints)
    hidden = hidden_joints(joints, torsos)
    hidden[1:] |= hidden[:-1] & (rng.random((frames - 1, 25)) < 0.5)
    state = np.where(hidden & (rng.random((frames, 25)) < 0.85), INFERRED, TRACKED)
    _drop(state, rng)

    unseen = state < TRACKED
    drift = 0.008 * rng.normal(0, 1, (2, 25, 3))
    share = np.linspace(0, 1, frames)[:, None, None]
    error = drift[0] * (1 - share) + drift[1] * share
    error += rng.normal(0, 0.004, joints.shape) * np.where(unseen, 3.5, 1.0)[..., None]
    lag = np.where(unseen, 0.85, 0.0)[..., None]
    measured = joints.copy()
    for frame in range(1, frames):
        measured[frame] += lag[frame] * (measured[frame - 1] - joints[frame])
    return measured + error, state


def _orientations(joints: np.ndarray) -> np.ndarray:
    """Return unit quaternions (w, x, y, z) [T, 25, 4] that turn +y along the bone to each joint; 0 at the leaves."""
    bone = joints - joints[:, PARENTS]
    bone[:, 0] = joints[:, 1] - joints[:, 0]
    bone /= np.linalg.norm(bone, axis=-1, keepdims=True) + 1e-9
    quaternion = np.stack([1 + bone[..., 1], bone[..., 2], np.zeros_like(bone[..., 0]), -bone[..., 0]], -1)
    quaternion[..., 1] += 1e-4  # straight down, where any axis would do
    quaternion /= np.linalg.norm(quaternion, axis=-1, keepdims=True)
    quaternion[:, _LEAVES] = 0
    return quaternion


def joint_table(joints: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Return the twelve numbers of a `.skeleton` file for each joint, [T, 25, 12]."""
    depth, color = project(joints, DEPTH_FOCAL, DEPTH_CENTRE), project(joints, COLOR_FOCAL, COLOR_CENTRE)
    return np.concatenate([joints, depth, color, _orientations(joints), state[..., None]], -1)


def clipped_edges(table: np.ndarray) -> np.ndarray:
    """Return Kinect's flags (1 right, 2 left, 4 top, 8 bottom) of the edges that cut the body off, int [T]."""
    x, y = table[..., 3], table[..., 4]
    height, width = DEPTH_SIZE
    return np.stack([x >= width, x < 0, y < 0, y >= height]).any(2).T @ np.array([1, 2, 4, 8])
