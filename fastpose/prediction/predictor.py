"""What a trained model says of clips: the most likely classes, their scores, and the clip's features."""

import warnings
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from fastpose.data.denoising.denoiser import Denoiser
from fastpose.data.pack.layouts import Layout, get_layout, tell_conversion
from fastpose.data.pack.packed import PackedClips
from fastpose.data.pack.presence import count_stray_joints, tell_stray_joints
from fastpose.data.pack.split_checks import clips_without_joints
from fastpose.data.sampling.batch import PoseBatch
from fastpose.data.sampling.checks import checked_integer
from fastpose.data.sampling.device import sampler_on
from fastpose.data.sources.unlabelled import find_faults, pack_unlabelled, unlabelled_clip
from fastpose.evaluation.scores import evaluation_views, mean_scores
from fastpose.models.inputs.protocol import PoseModel
from fastpose.models.quantized import quantized
from fastpose.prediction.persons import each_person, limit_persons
from fastpose.prediction.windows import Windows, cut_windows
from fastpose.settings.keypoints import KeypointOptions
from fastpose.system.placement import Placement
from fastpose.weights.card import ModelCard
from fastpose.weights.runs import load_model

WINDOW = 300  # frames: the longest clips of NTU RGB+D
LONG = 900  # frames, half a minute: longer clips are no trimmed actions, and are cut by default
MOST_FRAMES = 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the model says of a clip, or of one window of it.

    Attributes:
        name: of the clip.
        first_frame, last_frame: counted in the clip from 0; a whole clip ends with its last frame.
        labels: int64 [k], the likeliest class first.
        names: their k names.
        scores: float32 [k], their softmax scores; means over samplings and windows.
        features: float32 [D], what the model's classifier saw; means likewise.
        windows: of a clip that was cut, in order of time.
        person: who of the clip it is said of, from 0, or by the ids of a ``Stream``; None for all together.
    """

    name: str
    first_frame: int
    last_frame: int
    labels: np.ndarray
    names: tuple[str, ...]
    scores: np.ndarray
    features: np.ndarray
    windows: tuple["Prediction", ...] = ()
    person: int | None = None

    @property
    def num_frames(self) -> int:
        return self.last_frame - self.first_frame + 1

    def moved(self, frames: int) -> "Prediction":
        """Return the same of a clip that begins ``frames`` later."""
        if not frames:
            return self
        return replace(
            self,
            first_frame=self.first_frame + frames,
            last_frame=self.last_frame + frames,
            windows=tuple(window.moved(frames) for window in self.windows),
        )

    @property
    def fault(self) -> str | None:
        """What is wrong with it, if anything."""
        if np.isfinite(self.scores).all():
            return None
        return "the model's scores of it are not finite: its weights are damaged, or joint scores too large"

    def __str__(self) -> str:
        pairs = zip(self.names, self.scores, strict=True)
        name = self.name if self.person is None else f"{self.name}, person {self.person}"
        return f"{name}: " + ", ".join(f"{name} {100 * score:.1f} %" for name, score in pairs)


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Clips, or persons of clips, made ready: their windows, and for each batch of windows one or more samplings."""

    names: list[str]  # of their clips
    clip_of: np.ndarray  # int64, the clip that each is, or is a person of
    persons: list[int] | None  # who of it
    first_frames: np.ndarray  # int64, counted in the clip
    windows: Windows
    kept: np.ndarray  # int64 [n], windows with any joint
    batches: list[list[PoseBatch]]
    num_crowded: int  # clips with more persons than the model takes
    num_stray: int  # joints too far away to count
    notes: tuple[str, ...]  # what was done to fit the clips to the model, a sentence each


class Predictor:
    """A model in evaluation mode with all that it takes to feed it.

    Args:
        model: what ``card`` describes; it is moved to ``device``.
        card: layout, classes and sampling of the model, as ``load_model`` gives it.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "bf16", "fp32" or, on the CPU, "int8": of the matrix products.
        batch_size: windows per pass of the model; by default 64 for joints, 16 for images.
        num_clips: samplings of each window whose scores are averaged; one takes the middle frames.
        flip: average over each sampling and its mirror image.
        window: cut clips of more frames than this into windows of it; 0 never cuts. By default clips of more
            than 900 frames are cut into windows of 300.
        stride: frames from one window to the next; by default half a window.
        denoise: filter the keypoints first: "off", "sure" (smoothing), or a prior that `fastpose denoise --fit` wrote;
            by default what ``card`` says.
        convert: also convert joints between layouts of equally many joints, which are easily mistaken for
            each other; other known conversions are always made.
        exchange_sides: exchange left and right in conversions; by default between Kinect's layouts and all others
            (``fastpose.data.pack.layouts.exchanges_sides``).
        seed: of the frames drawn where ``num_clips`` > 1.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        card: ModelCard,
        *,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int | None = None,
        num_clips: int = 1,
        flip: bool = False,
        window: int | None = None,
        stride: int | None = None,
        convert: bool = False,
        exchange_sides: bool | None = None,
        denoise: str | None = None,
        seed: int = 0,
    ) -> None:
        self.card = card
        self.placement = Placement.choose(device, precision, evaluates=True)
        self.num_clips = checked_integer("num_clips", num_clips, 1, 10_000)
        self.flip = flip
        window = None if window is None else checked_integer("window", window, 0, MOST_FRAMES)
        self.window = WINDOW if window is None else window or MOST_FRAMES
        self.longer_than = LONG if window is None else self.window
        default = max(1, self.window // 2)
        self.stride = checked_integer("stride", default if stride is None else stride, 1, self.window)
        self.convert = convert
        self.exchange_sides = exchange_sides
        self.denoiser = card.denoiser() if denoise is None else Denoiser.open(denoise)
        self.seed = seed
        default = 16 if getattr(model, "takes_images", False) else 64
        self.batch_size = checked_integer(
            "batch_size", default if batch_size is None else batch_size, 1, 2**20
        )
        model = self.placement.place(model.eval())
        self.model = cast(PoseModel, quantized(model) if self.placement.dtype == torch.int8 else model)

    @classmethod
    def load(cls, run: str | Path, **settings: Any) -> "Predictor":
        """Return the model of a run; settings are those of the class.

        Args:
            run: as for ``load_model``: a finished run, the name of a starter model, or "hf://user/repo".

        Raises:
            ValueError: as ``load_model``.
        """
        return cls(*load_model(run), **settings)

    def predict(self, packed: PackedClips, top_k: int = 5, *, per_person: bool = False) -> list[Prediction]:
        """Classify all clips of a pack; with ``per_person`` each person of them alone, clip by clip.

        A person's clip goes from the first to the last frame in which they are seen.

        Raises:
            ValueError: they do not fit the model, one of them holds no joint or no pixels, or its scores come
                out as no numbers.
        """
        if faults := find_faults(packed):
            index, reason = next(iter(faults.items()))
            raise ValueError(f"clip {packed.names[index]!r}: {reason}")
        samples = self.sample(packed, per_person=per_person)
        if samples.num_stray:
            warnings.warn(tell_stray_joints(samples.num_stray), stacklevel=2)
        predictions = self.classify(samples, top_k)
        for prediction in predictions:
            if prediction.fault:
                raise ValueError(f"clip {prediction.name!r}: {prediction.fault}")
        return predictions

    def sample(self, packed: PackedClips, *, per_person: bool = False) -> Samples:
        """Cut and sample clips without fault, or each person of them: all of the work but the model's.

        Of more persons than the model takes, it gets those of ``choose_persons``.

        Raises:
            ValueError: their layout is another than the model's, and cannot be converted.
        """
        num_stray = count_stray_joints(packed.keypoints, packed.scores)
        source, target = packed.layout, self.card.layout
        packed = fit_layout(packed, target, convert=self.convert, exchange_sides=self.exchange_sides)
        notes = tuple(tell_conversion(source, target, self.exchange_sides))
        if self.denoiser is not None:
            packed = self.denoiser.filter_clips(packed)
        names, persons = packed.names, None
        clip_of, first_frames = np.arange(packed.num_clips), np.zeros(packed.num_clips, np.int64)
        if per_person:
            alone = each_person(packed)
            packed, clip_of, first_frames = alone.packed, alone.clip_of, alone.first_frames
            persons = alone.persons.tolist()
        num_crowded = int(np.count_nonzero(packed.num_persons > self.card.max_persons))
        packed = limit_persons(packed, self.card.max_persons)
        windows = cut_windows(self.card.clips(packed), self.window, self.stride, self.longer_than)
        sampler = sampler_on(
            self.placement.device, windows.packed, self.card.config.data.sampling, train=False, seed=self.seed,
            max_persons=self.card.max_persons, prior=self.card.prior,
        )  # fmt: skip
        kept = np.flatnonzero(~clips_without_joints(windows.packed))
        batches = [
            evaluation_views(
                sampler, kept[begin : begin + self.batch_size], num_clips=self.num_clips, flip=self.flip
            )
            for begin in range(0, len(kept), self.batch_size)
        ]
        return Samples(
            names, clip_of, persons, first_frames, windows, kept, batches, num_crowded, num_stray, notes
        )

    def classify(self, samples: Samples, top_k: int = 5, *, keep_features: bool = True) -> list[Prediction]:
        """Run the model on what ``sample`` made: a prediction for each clip or person, perhaps with empty features."""
        scored = [self._score(views) for views in samples.batches]
        scores, features = (torch.cat(tensors).cpu() for tensors in zip(*scored, strict=True))
        windows = samples.windows
        spans = np.searchsorted(samples.kept, windows.offsets)  # clip i is rows spans[i]:spans[i + 1]
        starts = windows.first_frames + np.repeat(samples.first_frames, np.diff(windows.offsets))
        lasts = starts + windows.packed.num_frames - 1
        top = self._top(scores, top_k)
        features_of = features.numpy() if keep_features else np.empty((len(features), 0), np.float32)
        predictions: list[Prediction] = []
        bounds: list[int] = spans.tolist()
        for clip, (start, stop) in enumerate(pairwise(bounds)):
            first, end = windows.offsets[clip : clip + 2]
            name = samples.names[samples.clip_of[clip]]
            person = None if samples.persons is None else samples.persons[clip]
            of_windows = tuple(
                Prediction(
                    name, int(starts[window]), int(lasts[window]), *top[row], features_of[row], person=person
                )
                for row, window in enumerate(samples.kept[start:stop].tolist(), start)
            )
            if end - first == 1:
                predictions += of_windows
                continue
            span = int(samples.first_frames[clip]), int(lasts[end - 1])
            (mean,) = self._top(scores[start:stop].mean(0, keepdim=True), top_k)
            predictions.append(
                Prediction(name, span[0], span[1], *mean, features_of[start:stop].mean(0), of_windows, person)
            )
        return predictions

    @torch.inference_mode()
    def _score(self, views: list[PoseBatch]) -> tuple[Tensor, Tensor]:
        return mean_scores(self.model, views, self.placement)

    def _top(self, scores: Tensor, top_k: int) -> list[tuple[np.ndarray, tuple[str, ...], np.ndarray]]:
        """Return labels, names and scores of the likeliest classes of each row."""
        values, labels = scores.topk(min(top_k, scores.shape[1]), dim=1)
        names = self.card.class_names
        return [
            (row, tuple(names[label] for label in row.tolist()), value)
            for row, value in zip(labels.numpy(), values.numpy(), strict=True)
        ]


def fit_layout(
    packed: PackedClips, target: Layout, *, convert: bool = False, exchange_sides: bool | None = None
) -> PackedClips:
    """Return the clips in the layout of a model; ``convert`` and ``exchange_sides`` are those of ``Predictor``.

    Raises:
        ValueError: no conversion is known, or it was not asked for (see ``Predictor``); both layouts are named.
    """
    source = packed.layout
    if source.joints == target.joints:
        return packed if source == target else replace(packed, layout=target, path=None)
    mismatch = f"the model takes layout {target.name!r}, but the joints are those of {source.name!r}"
    if source.num_joints == target.num_joints and not convert:
        raise ValueError(
            f"{mismatch}, which are as many: give --layout {target.name} (layout={target.name!r}) if they are "
            "the model's after all, --convert (convert=True) to convert them"
        )
    try:
        return packed.convert_layout(target, exchange_sides=exchange_sides)
    except ValueError as error:
        raise ValueError(f"{mismatch}: {error}") from error


def predict(
    keypoints: Any,
    scores: Any = None,
    *,
    model: "str | Path | Predictor",
    layout: str | Path | Layout,
    image_size: tuple[int, int],
    top_k: int = 5,
    coordinates: KeypointOptions | None = None,
    per_person: bool = False,
    **settings: Any,
) -> Prediction | list[Prediction]:
    """Classify one clip, or several in batches.

    Args:
        keypoints: one clip [M, T, V, 2] (persons, frames, joints; pixels), or [T, V, 2] for one person; or a
            list of such clips, or an array [N, M, T, V, 2]. NumPy, torch or nested lists. With three numbers
            per joint, and no ``scores``, the third is the score. Of more persons than the model takes,
            those count who are seen much and move most (``fastpose.data.pack.persons.choose_persons``).
        scores: [M, T, V] or [T, V], a list of those for several clips. A joint is missing where its score is
            ≤ 0 or anything of it is not finite, or where it lies at (0, 0) or (−1, −1).
        model: a finished run (its folder, a folder that holds this run alone, or its weights file), the name of a
            starter model, "hf://user/repo", or a ``Predictor``, which is loaded but once.
        layout: what the V joints are: a built-in name, a JSON file, or a ``Layout``.
        image_size: (h, w) of the video in pixels.
        top_k: classes to return.
        coordinates: how coordinates and scores are to be taken: a least score, shares of the image, 3D in metres.
        per_person: classify each person alone, in the frames from the first to the last in which they are seen.
        settings: those of ``Predictor``: device, precision, batch_size, num_clips, flip, window, stride, …

    Returns:
        A ``Prediction`` for one clip, a list of them for several; with ``per_person`` a list of those of all persons,
        clip by clip.

    Raises:
        ValueError: keypoints that are no pixels, of another layout or shape; a clip without any joint; a model
            that cannot be loaded; a setting out of range. The text names the clip, and what was expected.
    """
    layout = get_layout(layout)
    checked_integer("top_k", top_k, 1, MOST_FRAMES)
    clips, several = _as_clips(keypoints)
    of_clips = [None] * len(clips) if scores is None else list(scores) if several else [scores]
    if len(of_clips) != len(clips):
        raise ValueError(f"scores must be a list of {len(clips)} as keypoints are, got {len(of_clips)}")
    checked = [
        unlabelled_clip(
            {"keypoints": clip, "scores": _on_host(score), "image_size": image_size},
            layout,
            f"clip_{i:06d}",
            coordinates,
        )
        for i, (clip, score) in enumerate(zip(clips, of_clips, strict=True))
    ]
    if not isinstance(model, str | Path | Predictor):
        raise ValueError(f"model must be the path of a run or a Predictor, got a {type(model).__name__}")
    if isinstance(model, Predictor):
        if settings:
            raise ValueError(f"{', '.join(settings)}: settings of a Predictor are given when it is made")
        predictor = model
    else:
        predictor = Predictor.load(model, **settings)
    packed = pack_unlabelled(checked, layout, "arrays")
    begun = {clip.name: clip.first_frame for clip in checked}
    predictions = predictor.predict(packed, top_k, per_person=per_person)
    predictions = [prediction.moved(begun[prediction.name]) for prediction in predictions]
    return predictions if several or per_person else predictions[0]


def _as_clips(keypoints: Any) -> tuple[list[Any], bool]:
    """Return the clips among ``keypoints``, and whether they are several."""
    keypoints = _on_host(keypoints)
    listed = list(keypoints) if isinstance(keypoints, list | tuple) else []
    if (listed and getattr(listed[0], "ndim", 0) >= 3) or _depth(keypoints) == 5:
        return [_on_host(clip) for clip in keypoints], True
    return [keypoints], False


def _on_host(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return (value.float() if value.is_floating_point() else value).numpy()
    return value


def _depth(value: Any) -> int:
    """Return the number of axes, of nested lists by their first members."""
    if isinstance(value, list | tuple):
        return 1 + (_depth(value[0]) if value else 0)
    return getattr(value, "ndim", 0)
