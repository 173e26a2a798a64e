"""Finished runs measured again: at other noise levels, on other data, with more clips."""

import functools
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.splits import select_clips
from fastpose.data.synthetic.builtin import BUILT_IN, open_clips
from fastpose.evaluation.confusion import format_classes, format_pairs, write_confusion
from fastpose.evaluation.curve_plot import curve_title, plot_curves
from fastpose.evaluation.curves import Curve, Families, curve_of, format_table, write_curve
from fastpose.evaluation.families import compare_families
from fastpose.evaluation.metrics import format_interval, majority_percent, tell_chances
from fastpose.evaluation.scores import (
    GAUSSIAN,
    ClipScores,
    check_weights,
    count_levels,
    format_speed,
    fuse_scores,
)
from fastpose.evaluation.scoring_processes import ScoringJob, score_run
from fastpose.models.registry import MODELS
from fastpose.settings import DataConfig, EvalConfig
from fastpose.settings.checks import is_changed
from fastpose.system.files import check_output_folder
from fastpose.system.placement import Placement
from fastpose.weights.card import ModelCard
from fastpose.weights.runs import COMPLETE, load_card

FUSED = "fused"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finished run, and the clips it is to be measured on."""

    run: Path
    card: ModelCard
    source: str
    packed: PackedClips
    indices: np.ndarray  # int64, of the clips
    data: DataConfig


def open_candidates(
    runs: dict[str, Path],
    *,
    data: str | None = None,
    test_split: str | None = None,
    limit: int | Literal["all"] | None = None,
    clip_len: int | None = None,
    size: tuple[int, int] | None = None,
) -> dict[str, Candidate]:
    """Find the clips of each run, and how to sample them, by default what the run was made with.

    Of other ``data``, such as the keypoints of another detector, the clips are those of the run's own test split, by
    their names; a ``test_split`` is one of the other data's own.

    Raises:
        ValueError: a run is damaged, or the clips do not fit its model.
    """
    open_once = functools.cache(open_clips)
    candidates = {}
    for name, run in runs.items():
        card = load_card(run)
        own = card.config.data.data
        source = data or own
        packed = open_once(source)
        check_clips(card, packed, run)
        packed = card.clips(packed)
        chosen = changed_data(card.config.data, test_split, limit, clip_len, size)
        indices = np.empty(0, np.int64)
        if test_split is None and not _same_source(source, own):
            if own == BUILT_IN or Path(own).exists():
                indices = match_clips_by_name(name, open_once(own), own, packed, source, chosen)
            else:
                print(f"{name}: {own}, whose test clips it was to be measured on, is not there")
            if not len(indices):
                print(f"{name}: measured on the test split of {source}")
        if not len(indices):
            _, indices = select_clips(packed, chosen)
        if limit is None and chosen.limit is not None:
            print(f"{name}: {len(indices)} clips, as the run itself; --limit all for the whole split")
        candidates[name] = Candidate(run, card, source, packed, indices, chosen)
    return candidates


def match_clips_by_name(
    run: str, own: PackedClips, own_source: str, packed: PackedClips, source: str, chosen: DataConfig
) -> np.ndarray:
    """Return the clips of ``packed`` with the names of those clips of ``own`` that a run is measured on, int64.

    Clips of equal names have equal noise. Says which are not in ``packed``, and which of it are not in ``own``.

    Raises:
        ValueError: a clip is of another class in the two.
    """
    _, measured = select_clips(own, chosen)
    places = {name: place for place, name in enumerate(packed.names)}
    names = [own.names[index] for index in measured]
    lacking = [name for name in names if name not in places]
    if len(lacking) == len(names):
        print(f"{run}: none of its {len(names)} test clips is in {source}")
        return np.empty(0, np.int64)
    if lacking:
        print(
            f"{run}: {len(lacking)} of its {len(names)} test clips are not in {source} (first {lacking[0]!r})"
        )
    known = set(own.names)
    strange = [name for name in packed.names if name not in known]
    if strange:
        print(
            f"{run}: {len(strange)} clips of {source} are not in {own_source} (first {strange[0]!r}); left out"
        )
    found = np.array([places[name] for name in names if name in places], np.int64)
    expected = np.array(
        [own.labels[index] for index, name in zip(measured, names, strict=True) if name in places]
    )
    for index in found[packed.labels[found] != expected][:1]:
        raise ValueError(
            f"{source}: clip {packed.names[index]!r} is of class {packed.labels[index]} there, and of another in "
            f"{own_source}; expected the same classes in the same order"
        )
    return found


def _same_source(one: str, two: str) -> bool:
    return one == two or (BUILT_IN not in (one, two) and Path(one).resolve() == Path(two).resolve())


def check_clips(card: ModelCard, packed: PackedClips, run: Path) -> None:
    """Refuse clips that the model was not made for."""
    if card.layout.joints != packed.layout.joints:
        raise ValueError(
            f"{run}: was trained on the joints of {card.layout.name!r}, the clips have those of "
            f"{packed.layout.name!r}; pack them with --layout {card.layout.name}"
        )
    if len(card.class_names) != packed.num_classes:
        raise ValueError(f"{run}: knows {len(card.class_names)} classes, the clips have {packed.num_classes}")


def changed_data(
    trained: DataConfig,
    test_split: str | None,
    limit: int | Literal["all"] | None,
    clip_len: int | None,
    size: tuple[int, int] | None,
) -> DataConfig:
    """Return the data settings a run was trained with, with whatever is not None put in place."""
    given: dict[str, Any] = {"clip_len": clip_len, "size": size}
    sampled = {name: value for name, value in given.items() if value is not None}
    changed = replace(trained, sampling=replace(trained.sampling, **sampled))
    if test_split is not None:
        changed = replace(changed, test_split=test_split, test_on="test")
    if limit is not None:
        changed = replace(changed, limit=None if limit == "all" else limit)
    return changed


def check_fusable(candidates: dict[str, Candidate]) -> None:
    """Refuse to fuse runs unless they score the same noisy frames of the same clips for the same classes."""
    if len(candidates) < 2:
        raise ValueError(f"--fuse needs two or more runs, got {', '.join(candidates)}")
    if FUSED in candidates:
        raise ValueError(
            f"--fuse: a run is named {FUSED!r}, as the curve of their fusion is; rename its folder"
        )
    (first, one), *others = candidates.items()
    for second, two in others:
        if one.card.class_names != two.card.class_names:
            raise ValueError(f"{first} and {second} cannot be fused: their classes differ")
        if not _same_clips(one, two):
            raise ValueError(
                f"{first} and {second} cannot be fused: they are measured on different clips, "
                f"{len(one.indices)} of {one.packed.source} and {len(two.indices)} of {two.packed.source}; "
                "--data, --test-split and --limit choose the same ones for all"
            )
        frames = [(c.data.sampling.clip_len, c.data.sampling.frame_rule) for c in (one, two)]
        if frames[0] != frames[1]:
            seen = " and ".join(f"{count} frames ({rule})" for count, rule in frames)
            raise ValueError(
                f"{first} and {second} cannot be fused: they see {seen} of a clip, and so not the same noise"
            )


def _same_clips(one: Candidate, two: Candidate) -> bool:
    def facts(candidate: Candidate) -> list[np.ndarray]:
        packed = candidate.packed
        columns = (packed.name_hashes, packed.labels, packed.num_frames, packed.total_difference)
        return [column[candidate.indices] for column in columns]

    return one.packed.layout.joints == two.packed.layout.joints and all(
        np.array_equal(a, b) for a, b in zip(facts(one), facts(two), strict=True)
    )


def evaluate_runs(
    runs: dict[str, Path],
    settings: EvalConfig,
    out: Path,
    *,
    data: str | None = None,
    test_split: str | None = None,
    limit: int | Literal["all"] | None = None,
    clip_len: int | None = None,
    size: tuple[int, int] | None = None,
    confusion_alphas: tuple[float, ...] | None = None,
    device: str = "auto",
    precision: str = "auto",
    seed: int = 0,
    fuse: bool = False,
    fuse_weights: tuple[float, ...] | None = None,
    processes: int | None = 1,
) -> dict[str, Curve]:
    """Measure each run; write the curves as csv and plot, and confusion matrices; print the curves.

    The curves are of Gaussian noise. Where ``settings`` names other noise families, each is measured too; they are
    written as families.csv and picture, and printed with their mean corruption accuracy.

    ``data``, ``test_split``, ``limit``, ``clip_len`` and ``size`` default to what each run was made with,
    ``confusion_alphas`` to the first level.
    With ``fuse``, the curve "fused" is of the mean of the runs' softmax scores, weighted by ``fuse_weights``.
    ``processes`` are as for ``score_run``; a script that asks for several, or for None, keeps what it does under
    ``if __name__ == "__main__"``.

    Raises:
        ValueError: the clips do not fit a model, a noise level for a confusion matrix is not measured, or the
            runs cannot be fused.
        OSError: ``out`` cannot be written to; this is found before measuring where it can be.
    """
    alphas = settings.alphas
    confusion_alphas = alphas[:1] if confusion_alphas is None else confusion_alphas
    if missing := [alpha for alpha in confusion_alphas if alpha not in alphas]:
        raise ValueError(
            f"confusion_alphas: {missing} are not among the noise levels measured, {list(alphas)}"
        )
    if fuse_weights is not None:
        if not fuse:
            raise ValueError("--fuse-weights has no effect without --fuse")
        check_weights(fuse_weights, len(runs))
    if processes is not None and processes < 1:
        raise ValueError(f"jobs = {processes}: expected at least 1")
    check_output_folder(out)
    placement = Placement.choose(device, precision, evaluates=True)
    candidates = open_candidates(
        runs, data=data, test_split=test_split, limit=limit, clip_len=clip_len, size=size
    )
    if fuse:
        check_fusable(candidates)
    measured = dict.fromkeys((GAUSSIAN, *settings.families))
    num_levels = count_levels(alphas, measured)
    curves: dict[str, Curve] = {}
    by_family: dict[str, Families] = {}
    scores: list[dict[str, ClipScores]] = []
    for name, candidate in candidates.items():
        own_model = candidate.card.config.model.model
        job = ScoringJob(
            run=candidate.run, data=candidate.source, size=size, sampling=candidate.data.sampling, settings=settings,
            families=tuple(measured), seed=seed, placement=placement, model_name=own_model,
            factory=MODELS.get(own_model),
        )  # fmt: skip
        started = time.perf_counter()
        with tqdm(total=len(candidate.indices) * num_levels, desc=name, unit="clip", disable=None) as bar:
            scored = score_run(
                job, candidate.packed, candidate.indices, processes=processes, on_batch=bar.update
            )
        curves[name] = curve_of(scored[GAUSSIAN])
        by_family[name] = {family: curve_of(scored[family]) for family in settings.families}
        print(f"{name}: {format_speed(len(candidate.indices), num_levels, time.perf_counter() - started)}")
        if fuse:
            scores.append(scored)
    if fuse:
        fused = {
            family: curve_of(fuse_scores([member[family] for member in scores], fuse_weights))
            for family in measured
        }
        curves[FUSED] = fused[GAUSSIAN]
        by_family[FUSED] = {family: fused[family] for family in settings.families}
    out.mkdir(parents=True, exist_ok=True)
    write_curve(out / COMPLETE, curves)
    source = ", ".join(dict.fromkeys(candidate.packed.source for candidate in candidates.values()))
    title = curve_title(source, curves)
    chances = [majority_percent(each.packed.labels[each.indices]) for each in candidates.values()]
    plot_curves(out / "robustness.png", curves, title, chances)
    print("\n" + format_table(curves))
    print(tell_chances(chances))
    for name, curve in curves.items():
        class_names = candidates.get(name, next(iter(candidates.values()))).card.class_names
        for alpha in confusion_alphas:
            stem = out / f"confusion-{name.replace('/', '-')}-{alpha:g}"
            write_confusion(stem, curve[alpha], class_names, f"{name}, α = {alpha:g}")
        for alpha in confusion_alphas[:1]:
            described = f"{name}, α = {alpha:g}"
            print(f"\n{described}: {format_interval(curve[alpha])}")
            if len(curves) == 1:
                print("\n" + format_classes(curve[alpha], class_names, described))
            print(format_pairs(curve[alpha], class_names, described))
    if is_changed(settings, "families"):
        compare_families(by_family, out / "families", title=title)
    print(f"\nresults: {out}")
    return curves
