"""What users run today to read a `.skeleton` file, re-stated from the format alone."""

import numpy as np

Tracks = dict[int, tuple[np.ndarray, np.ndarray]]  # {body id: (frames int32 [n], joints float32 [n, 25, 12])}


def decode_with_python(path: str) -> Tracks:
    """Every number of every joint through ``str.split`` and ``float``, one array at the end."""
    with open(path) as file:
        tokens = file.read().split()
    tracks = {}
    next_token = 1
    for frame in range(int(tokens[0])):
        num_bodies = int(tokens[next_token])
        next_token += 1
        for _ in range(num_bodies):
            frames, numbers = tracks.setdefault(int(tokens[next_token]), ([], []))
            first = next_token + 11  # after the body's ten fields and the number of joints
            next_token = first + 12 * int(tokens[first - 1])
            frames.append(frame)
            numbers.extend(map(float, tokens[first:next_token]))
    return _arrays(tracks)


def decode_with_numpy(path: str) -> Tracks:
    """The same with all of the file's numbers read by one call; large body ids are rounded to a multiple of 16."""
    with open(path) as file:
        tokens = np.fromstring(file.read(), sep=" ")
    tracks = {}
    next_token = 1
    for frame in range(int(tokens[0])):
        num_bodies = int(tokens[next_token])
        next_token += 1
        for _ in range(num_bodies):
            frames, numbers = tracks.setdefault(int(tokens[next_token]), ([], []))
            first = next_token + 11
            next_token = first + 12 * int(tokens[first - 1])
            frames.append(frame)
            numbers.append(tokens[first:next_token])
    return _arrays(tracks)


def _arrays(tracks: dict[int, tuple[list, list]]) -> Tracks:
    return {
        body_id: (np.array(frames, np.int32), np.array(numbers, np.float32).reshape(len(frames), -1, 12))
        for body_id, (frames, numbers) in tracks.items()
    }
