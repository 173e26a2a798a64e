"""Files of clips classified one after the other, and the results as table, csv, json and npz."""

import csv
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fastpose.data.pack.pack_report import tell_exchanged_sizes
from fastpose.data.pack.presence import tell_stray_joints
from fastpose.data.sampling.checks import checked_integer
from fastpose.data.sources.clip_files import ClipGroup, find_files, read_clips
from fastpose.data.sources.found_files import Problem, ReadOptions, printable
from fastpose.data.sources.unlabelled import find_faults
from fastpose.prediction.drawn import check_drawings, draw_predictions
from fastpose.prediction.predictor import Prediction, Predictor, Samples
from fastpose.settings.video import VideoConfig
from fastpose.system.files import atomic_path, check_target, write_text
from fastpose.system.prefetch import Prefetcher
from fastpose.video.clips import VideoReader
from fastpose.video.frames import SUFFIXES, is_video

NAME_WIDTH = 24
SHOWN_CLIPS = 50
SHOWN_PROBLEMS = 3  # for each reason
RESULT_SUFFIXES = (".csv", ".json")
FEATURE_SUFFIXES = (".npz",)


@dataclass(frozen=True, slots=True)
class Results:
    """What became of some files: a prediction for each clip, or person, with the file it is from, and what failed."""

    files: list[str]
    predictions: list[Prediction]
    problems: list[Problem]
    notes: Counter[str] = field(default_factory=Counter)  # what was taken to be what, in how many clips
    num_crowded: int = 0  # clips with more persons than the model takes
    num_stray: int = 0  # joints too far away to count
    per_person: bool = False  # predictions are of persons


def run(
    predictor: Predictor,
    sources: Sequence[str | Path],
    options: ReadOptions,
    *,
    top_k: int = 5,
    out: Path | None = None,
    embed: Path | None = None,
    per_person: bool = False,
    video: VideoConfig | None = None,
    draw: Path | None = None,
) -> int:
    """Classify files, print a table, report problems on the error stream, write what was asked for.

    Args:
        predictor: the model.
        sources: files, folders and glob patterns.
        options: what files do not say themselves.
        top_k: classes to name for each clip.
        out: csv or json file of all results.
        embed: npz file of all features.
        per_person: classify each person of a clip alone.
        video: how keypoints are found in videos.
        draw: video to write with skeletons and classes, or a folder for several.

    Returns:
        0, or 1 if there is any problem.
    """
    checked_integer("top_k", top_k, 1, 2**31 - 1)
    if not sources:
        raise ValueError("no file to classify: name files, folders or glob patterns")
    video = video or VideoConfig()
    if draw is not None and video.pose is None:
        raise ValueError("--draw needs --pose mediapipe or --pose rtmlib, whose keypoints are drawn")
    if draw is not None and per_person:
        raise ValueError("--draw writes one class on a video: leave out --per-person")
    paths, problems = find_files(sources, also=SUFFIXES if video.pose is not None else ())
    drawings = check_drawings([path for path in paths if is_video(path)], draw)
    started = time.perf_counter()
    with (
        VideoReader(video, keep=draw is not None) as reader,
        tqdm(unit=" clips", desc="predicting", disable=None) as bar,
    ):
        reader.prepare(paths)
        results = predict_files(
            predictor,
            paths,
            options,
            top_k=top_k,
            keep_features=embed is not None,
            per_person=per_person,
            on_clips=bar.update,
            read=reader.read_any,
            on_end=reader.stopped.set,
        )
    seconds = time.perf_counter() - started
    predicted = dict(zip(results.files, results.predictions, strict=True))
    for path, drawing in drawings.items():
        name = printable(path)
        if name in predicted:
            problems += draw_predictions(path, drawing, reader.clips[name], predicted[name])
    results = replace(results, problems=[*problems, *results.problems])
    if results.files:
        print(format_results(results, None if out is None else SHOWN_CLIPS))
    print("\n".join(problem_lines(results.problems)), end="\n" * bool(results.problems), file=sys.stderr)
    if results.num_crowded:
        most = predictor.card.max_persons
        print(
            f"note: {results.num_crowded} clips have more persons than the model's {most}; it sees the {most} who are "
            "there for long and move most",
            file=sys.stderr,
        )
    for note, count in results.notes.items():
        clips = f" ({count} clip{'s' * (count > 1)})" if count else ""
        print(f"note: {note}{clips}", file=sys.stderr)
    if results.num_stray:
        print(f"note: {tell_stray_joints(results.num_stray)}", file=sys.stderr)
    rate = f"{len(results.files) / seconds:.0f} clips/s, {predictor.placement}"
    print(f"\n{len(results.files)} {'persons' if per_person else 'clips'} in {seconds:.1f} s ({rate})")
    if reader.num_reused:
        print(f"keypoints of {reader.num_reused} videos were those saved before")
    if drawings:
        print(f"drawn: {draw}")
    if out is not None:
        write_results(out, results)
        print(f"results: {out}")
    if embed is not None:
        write_features(embed, results)
        print(f"features: {embed}")
    return 1 if results.problems else 0


def predict_files(
    predictor: Predictor,
    paths: Sequence[Path],
    options: ReadOptions,
    *,
    top_k: int = 5,
    keep_features: bool = True,
    per_person: bool = False,
    on_clips: Callable[[int], object] = lambda clips: None,
    read: Callable[[Sequence[Path], ReadOptions], Iterator[ClipGroup | Problem]] = read_clips,
    on_end: Callable[[], object] = lambda: None,
) -> Results:
    """Classify the clips in ``paths``, or their persons, in their order; reading and sampling run beside the model.

    What cannot be used is among the problems of the result, and never an error. ``on_clips`` is called with the
    number of clips classified. Without ``keep_features`` those of the predictions are empty. ``read`` reads the
    files, in a thread; ``on_end`` is called when the work ends, also by Ctrl-C, before that thread is waited for.
    """
    results = Results([], [], [], per_person=per_person)
    num_crowded = num_stray = 0
    with Prefetcher(_ready(predictor, read(paths, options), per_person)) as items, ExitStack() as end:
        end.callback(on_end)
        for item in items:
            if isinstance(item, Problem):
                results.problems.append(item)
                continue
            files, samples, first_frames, notes = item
            results.notes.update(notes)
            results.notes.update(dict.fromkeys(samples.notes, 0))  # the same of all clips
            num_crowded += samples.num_crowded
            num_stray += samples.num_stray
            predictions = predictor.classify(samples, top_k, keep_features=keep_features)
            for clip, prediction in zip(samples.clip_of, predictions, strict=True):
                file = files[clip]
                if prediction.fault:
                    reason = f"clip {prediction.name!r}: {prediction.fault}"
                    results.problems.append(Problem(file, reason))
                else:
                    results.predictions.append(prediction.moved(first_frames[clip]))
                    results.files.append(file)
            on_clips(len(files))
    problems = list(dict.fromkeys(results.problems))
    return replace(results, problems=problems, num_crowded=num_crowded, num_stray=num_stray)


def _ready(
    predictor: Predictor, read: Iterator[ClipGroup | Problem], per_person: bool
) -> Iterator[Problem | tuple[list[str], Samples, list[int], Counter[str]]]:
    """Yield sampled clips with the file and the first frame of each and notes on them, and problems."""
    for item in read:
        if isinstance(item, Problem):
            yield item
            continue
        packed, files, first_frames, notes = item.packed, item.files, item.first_frames, item.notes
        faults = find_faults(packed)
        for clip, reason in faults.items():
            yield Problem(files[clip], f"clip {packed.names[clip]!r}: {reason}")
        if faults:
            good = [clip for clip in range(len(files)) if clip not in faults]
            if not good:
                continue
            packed, files, first_frames = (
                packed.subset(good),
                [files[clip] for clip in good],
                first_frames[good],
            )
        if warning := tell_exchanged_sizes(packed):
            notes = notes + Counter([warning.removeprefix("warning: ")])
        try:
            samples = predictor.sample(packed, per_person=per_person)
        except ValueError as error:
            yield from (Problem(file, str(error)) for file in dict.fromkeys(files))
        else:
            yield files, samples, first_frames.tolist(), notes


def rows(results: Results) -> Iterator[tuple[str, str, Prediction]]:
    """Yield (file, "clip" or "window", prediction): each clip, followed by its windows."""
    for file, prediction in zip(results.files, results.predictions, strict=True):
        yield file, "clip", prediction
        yield from ((file, "window", window) for window in prediction.windows)


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """Return a line for each problem; of more than a few files with the same one, how many more there are."""
    by_reason: dict[str, list[Problem]] = {}
    for problem in problems:
        by_reason.setdefault(problem.reason, []).append(problem)
    lines = []
    for alike in by_reason.values():
        lines += [f"error: {problem}" for problem in alike[:SHOWN_PROBLEMS]]
        if len(alike) > SHOWN_PROBLEMS:
            lines.append(f"error: … the same of {len(alike) - SHOWN_PROBLEMS} more files")
    return lines


def format_results(results: Results, most_clips: int | None = None) -> str:
    """Return a line for each clip (or person) and window, classes with scores in percent; at most ``most_clips``."""
    shown = Results(results.files[:most_clips], results.predictions[:most_clips], [])
    heads = ["clip", "person", "frames"] if results.per_person else ["clip", "frames"]
    lines = [heads.copy()]
    for _, part, prediction in rows(shown):
        span = f"{prediction.first_frame}-{prediction.last_frame}"
        name = _shorten(prediction.name) if part == "clip" else "  window"
        mean = f" (mean of {len(prediction.windows)} windows)" if prediction.windows else ""
        person = [str(prediction.person)] if results.per_person else []
        lines.append([name, *person, span + mean, *_top_cells(prediction)])
    ranks = max(map(len, lines)) - len(heads)
    lines[0] += [f"  {rank + 1}." for rank in range(ranks)]
    widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(len(heads) + ranks)]
    text = "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    left_out = len(results.files) - len(shown.files)
    return (
        f"{text}\n… and {left_out} more {'persons' if results.per_person else 'clips'}" if left_out else text
    )


def _top_cells(prediction: Prediction) -> list[str]:
    return [
        f"{100 * score:5.1f} % {_shorten(name)}"
        for name, score in zip(prediction.names, prediction.scores.tolist(), strict=True)
    ]


def _shorten(text: str) -> str:
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)  # the table stays a table
    return text if len(text) <= NAME_WIDTH else f"{text[: NAME_WIDTH - 1]}…"


def write_results(path: Path, results: Results) -> None:
    """Write the predictions, by the suffix of ``path`` as csv or json, atomically.

    csv: a row for each clip and each window of those that were cut. json: {"clips": [...], "problems": [...]},
    windows inside their clip. Predictions of persons have a column, or key, ``person``.

    Raises:
        ValueError: another suffix.
        OSError: the file cannot be written.
    """
    check_targets(path, None)
    if path.suffix.lower() == ".json":
        clips = [
            {"file": file, **_to_json(prediction), "windows": list(map(_to_json, prediction.windows))}
            for file, prediction in zip(results.files, results.predictions, strict=True)
        ]
        problems = [{"file": problem.file, "reason": problem.reason} for problem in results.problems]
        write_text(path, json.dumps({"clips": clips, "problems": problems}, indent=1, ensure_ascii=False))
        return
    ranks = max((len(prediction.names) for prediction in results.predictions), default=0)
    heads = [f"{what}_{rank}" for rank in range(1, ranks + 1) for what in ("label", "name", "score")]
    with atomic_path(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        person = ["person"] if results.per_person else []
        writer.writerow(["file", "clip", *person, "part", "first_frame", "last_frame", *heads])
        for source, part, prediction in rows(results):
            cells = [
                cell for label, name, score in _top(prediction) for cell in (label, name, f"{score:.6f}")
            ]
            span = prediction.first_frame, prediction.last_frame
            person = [str(prediction.person)] if results.per_person else []
            writer.writerow([source, prediction.name, *person, part, *span, *cells])


def _top(prediction: Prediction) -> Iterator[tuple[int, str, float]]:
    return zip(prediction.labels.tolist(), prediction.names, prediction.scores.tolist(), strict=True)


def _to_json(prediction: Prediction) -> dict[str, object]:
    return {
        "clip": prediction.name,
        **({} if prediction.person is None else {"person": prediction.person}),
        "first_frame": prediction.first_frame,
        "last_frame": prediction.last_frame,
        "top": [
            {"label": label, "name": name, "score": round(score, 6)}
            for label, name, score in _top(prediction)
        ],
    }


def write_features(path: Path, results: Results) -> None:
    """Write features float32 [rows, D] as npz, atomically, with what each row is, rows being those of the csv.

    Arrays: features; names, files, parts (text); first_frames, last_frames, labels (int64; the likeliest
    classes), and persons (int64) where the predictions are of persons.

    Raises:
        ValueError: another suffix than .npz, or there is no clip.
        OSError: the file cannot be written.
    """
    check_targets(None, path)
    listed = list(rows(results))
    if not listed:
        raise ValueError(f"{path}: there are no features to write, since no clip was classified")
    files, parts, predictions = zip(*listed, strict=True)
    arrays: dict[str, Any] = {
        "features": np.stack([prediction.features for prediction in predictions]),
        "files": np.array(files),
        "names": np.array([prediction.name for prediction in predictions]),
        "parts": np.array(parts),
        "first_frames": np.array([prediction.first_frame for prediction in predictions], np.int64),
        "last_frames": np.array([prediction.last_frame for prediction in predictions], np.int64),
        "labels": np.array([prediction.labels[0] for prediction in predictions], np.int64),
    }
    if results.per_person:
        arrays["persons"] = np.array([prediction.person for prediction in predictions], np.int64)
    with atomic_path(path) as partial, open(partial, "wb") as file:
        np.savez(file, **arrays)


def check_targets(out: Path | None, embed: Path | None) -> None:
    """Refuse results and features that could not be written, before any work is done for them.

    Raises:
        ValueError: a suffix other than those of ``write_results`` and ``write_features``.
        OSError: a folder is missing.
    """
    for path, suffixes in ((out, RESULT_SUFFIXES), (embed, FEATURE_SUFFIXES)):
        if path is not None:
            if path.suffix.lower() not in suffixes:
                raise ValueError(f"{path}: expected a file ending in {' or '.join(suffixes)}")
            check_target(path)
