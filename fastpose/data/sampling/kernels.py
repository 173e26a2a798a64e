"""Triton kernels that sample clips as csrc/sample/clip_sampler.cpp does, from the same Philox numbers.

`choose_frames` draws the frames of several clips per program, `place_joints` noises, crops and flips one clip
per program. It goes over the clip twice, for the box and for the result, and draws Gaussian noise anew each time:
cheaper than keeping it. Noise of other families is in the whole clips that kernels_noise.py writes before.
"""

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from fastpose.data.sampling.batch import PoseBatch
from fastpose.data.sampling.front_end import MotionFilter, SeenClips, part_edges, see_clips
from fastpose.data.sampling.kernels_noise import noised_clips
from fastpose.data.sampling.kernels_random import (
    ALPHA,
    CROP_AND_FLIP,
    FRAMES,
    INPUT,
    NOISE,
    below,
    drawn_alpha,
    noise_coefficient,
    normals,
    random_pair,
    random_word,
    random_words,
    uniform,
)
from fastpose.data.sampling.reference import BOX_OF_SPREAD, LEAST_LEVEL, MOST_LEVEL
from fastpose.ops import limits
from fastpose.ops.launch import ceil_div, launch
from fastpose.settings import SamplingConfig

CLIPS_PER_PROGRAM = 32
ELEMENTS_PER_STEP = 512

MAX_COORDINATE = tl.constexpr(limits.MAX_COORDINATE)
MAX_FINITE = tl.constexpr(3.4028234663852886e38)
NEVER = tl.constexpr(0)  # flips
DRAWN = tl.constexpr(1)
ALWAYS = tl.constexpr(2)


@triton.jit(do_not_specialize=["seed", "epoch", "stream"])
def choose_frames(
    indices,  # int64 [B]
    name_hashes,  # int64 [n]
    num_frames,  # int32 [n]
    labels,  # int64 [n]
    frames,  # out: int32 [B, T]
    batch_labels,  # out: int64 [B]
    draws,  # out: float32 [B, INPUT_DRAWS]
    lengths,  # int32 [B], the frames that noise leaves of each clip; None where those are all
    seed,
    epoch,
    stream,
    batch_size,
    num_clips,
    CLIP_LEN: tl.constexpr,
    DRAW: tl.constexpr,
    RESAMPLE: tl.constexpr,
    INPUT_DRAWS: tl.constexpr,  # 0 outside training
    CLIPS: tl.constexpr,
):
    position = tl.program_id(0).to(tl.int64) * CLIPS + tl.arange(0, CLIPS)
    inside = position < batch_size
    clip = tl.load(indices + position, mask=inside, other=0)
    known = (clip >= 0) & (clip < num_clips)
    tl.device_assert(known, "a clip index is out of range for the pack")
    clip = tl.where(known, clip, 0)
    tl.store(batch_labels + position, tl.load(labels + clip), mask=inside)
    name_hash = tl.load(name_hashes + clip)
    if lengths is None:
        length = tl.load(num_frames + clip)
    else:
        length = tl.load(lengths + position, mask=inside, other=1)
    long = length.to(tl.int64)

    block = tl.zeros([CLIPS], tl.int32)
    first_word, _w1, _w2, _w3 = random_words(seed, name_hash, epoch, stream, FRAMES, block)
    start = below(first_word, length)
    left = length - CLIP_LEN  # gaps still to skip where CLIP_LEN <= length < 2 CLIP_LEN
    raised = block  # resampled positions of a short clip that lie in the same frame and were rounded up
    for index in range(CLIP_LEN):
        i = block + index
        at = i
        if DRAW:
            word = random_word(seed, name_hash, epoch, stream, FRAMES, i)
        if RESAMPLE:
            even = i * long // CLIP_LEN
            frame = even.to(tl.int32)
            short_frame = frame
            if DRAW:
                first = (even * CLIP_LEN + long - 1) // long
                end = ((even + 1) * CLIP_LEN + long - 1) // long
                raised = tl.where(i == first, 0, raised)
                coin = (word >> 31).to(tl.int32)
                up = tl.where(i * long % CLIP_LEN == 0, 0, coin)
                at = tl.where(length < CLIP_LEN, tl.where(up == 1, end.to(tl.int32) - 1, i) - raised, i)
                raised += up
                short_frame = tl.minimum(frame + up, length - 1)
                offset = tl.umulhi(word, length.to(tl.uint32)).to(tl.int64)
                frame = ((i * long + offset) // CLIP_LEN).to(tl.int32)
        elif DRAW:
            short_frame = (start + i) % length
            left -= (below(word, CLIP_LEN + 1 - i) < left).to(tl.int32)
            selected = i + length - CLIP_LEN - left
            begin = (i * long // CLIP_LEN).to(tl.int32)
            end = ((i + 1) * long // CLIP_LEN).to(tl.int32)
            frame = tl.where(length < 2 * CLIP_LEN, selected, begin + below(word, end - begin))
        else:
            short_frame = i % length
            frame = ((2 * i + 1) * long // (2 * CLIP_LEN)).to(tl.int32)
        frame = tl.where(length < CLIP_LEN, short_frame, frame)
        tl.store(frames + position * CLIP_LEN + at, frame, mask=inside)
    if INPUT_DRAWS > 0:  # `draws` is None otherwise, and a loop without turns is compiled all the same
        for index in range(INPUT_DRAWS // 4):
            w0, w1, w2, w3 = random_words(seed, name_hash, epoch, stream, INPUT, block + index)
            row = draws + position * INPUT_DRAWS + 4 * index
            tl.store(row, uniform(w0), mask=inside)
            tl.store(row + 1, uniform(w1), mask=inside)
            tl.store(row + 2, uniform(w2), mask=inside)
            tl.store(row + 3, uniform(w3), mask=inside)


@triton.jit
def noised_joints(
    keypoints, scores, noised, max_frames, frames, first_row, length, element, mask, deviation_x, deviation_y,
    seed, name_hash, noise_epoch, stream, CLIP_LEN: tl.constexpr, NUM_JOINTS: tl.constexpr,
):  # fmt: skip
    """Return x, y, score (0 where missing) of elements (person · CLIP_LEN + position) · NUM_JOINTS + joint."""
    joint = element % NUM_JOINTS
    frame = tl.load(frames + element // NUM_JOINTS % CLIP_LEN, mask=mask, other=0)
    person = element // (NUM_JOINTS * CLIP_LEN)
    if noised is not None:
        joints = noised + ((person.to(tl.int64) * max_frames + frame) * NUM_JOINTS + joint) * 3
        x = tl.load(joints, mask=mask, other=0.0)
        y = tl.load(joints + 1, mask=mask, other=0.0)
        return x, y, tl.load(joints + 2, mask=mask, other=0.0)
    at = (first_row + person.to(tl.int64) * length + frame) * NUM_JOINTS + joint
    x = tl.load(keypoints + at * 2, mask=mask, other=0.0)
    y = tl.load(keypoints + at * 2 + 1, mask=mask, other=0.0)
    score = tl.load(scores + at, mask=mask, other=0.0)
    near = (tl.abs(x) <= MAX_COORDINATE) & (tl.abs(y) <= MAX_COORDINATE)
    present = near & (score > 0.0) & (score <= MAX_FINITE)
    if deviation_x > 0.0:
        of_frame = person * NUM_JOINTS + joint
        first, second = random_pair(seed, name_hash + frame, noise_epoch, stream, NOISE, of_frame)
        dx, dy = normals(first, second)
        x += deviation_x * dx
        y += deviation_y * dy
    return tl.where(present, x, 0.0), tl.where(present, y, 0.0), tl.where(present, score, 0.0)


@triton.jit(
    do_not_specialize=["seed", "epoch", "stream", "noise_epoch", "alpha_low", "alpha_high", "max_frames"]
)
def place_joints(
    keypoints,  # float32 [rows, V, 2]
    scores,  # float32 [rows, V]
    offsets,  # int64 [n + 1]
    num_persons,  # int32 [n]
    num_frames,  # int32 [n]
    image_sizes,  # int32 [n, 2]
    name_hashes,  # int64 [n]
    total_differences,  # float64 [n]
    flipped_joint,  # int32 [V]
    crop,  # float64, what crop_numbers lists
    noised,  # float32 [B, M, max_frames, V, 3], the clips with their noise, or None where it is added here
    places,  # int32 [B, max_frames], of its frames in the video, or None
    indices,  # int64 [B]
    alphas,  # float64 [2, B], low and high; PER_CLIP only
    frames,  # int32 [B, T]
    out,  # float32 [B, M, T, V, 3]
    frame_places,  # out: int32 [B, T], the places of ``frames``, or None
    extents,  # float64 [B, 3], centre and larger side of the persons' box, or None where it is that of the joints
    views,  # out: float64 [B, 2], the side of the square that is cropped, and 1 where it is mirrored; or None
    alpha_low,
    alpha_high,
    seed,
    epoch,
    stream,
    noise_epoch,  # 0 outside training, where a video has one noise, whichever of its samples is drawn
    batch_size,
    num_clips,
    max_frames,
    input_height,
    input_width,
    MAX_PERSONS: tl.constexpr,
    CLIP_LEN: tl.constexpr,
    NUM_JOINTS: tl.constexpr,
    RANDOM_CROP: tl.constexpr,
    WHOLE_FRAME: tl.constexpr,
    FLIP: tl.constexpr,
    PER_CLIP: tl.constexpr,
    ELEMENTS: tl.constexpr,
):
    position = tl.program_id(0).to(tl.int64)
    clip = tl.load(indices + position)
    clip = tl.where((clip >= 0) & (clip < num_clips), clip, 0)
    name_hash = tl.load(name_hashes + clip)
    length = tl.load(num_frames + clip)
    first_row = tl.load(offsets + clip)
    height = tl.load(image_sizes + clip * 2).to(tl.float64)
    width = tl.load(image_sizes + clip * 2 + 1).to(tl.float64)
    frames += position * CLIP_LEN
    if noised is not None:
        noised += position * MAX_PERSONS * max_frames * NUM_JOINTS * 3
        for start in range(0, CLIP_LEN, ELEMENTS):
            t = start + tl.arange(0, ELEMENTS)
            place = tl.load(places + position * max_frames + tl.load(frames + t, mask=t < CLIP_LEN, other=0))
            tl.store(frame_places + position * CLIP_LEN + t, place, mask=t < CLIP_LEN)
    PERSON_SIZE: tl.constexpr = CLIP_LEN * NUM_JOINTS
    count = tl.minimum(tl.load(num_persons + clip), MAX_PERSONS) * PERSON_SIZE

    block = tl.cast(0, tl.int32)
    alpha_word, _a1, _a2, _a3 = random_words(seed, name_hash, noise_epoch, stream, ALPHA, block)
    alpha = drawn_alpha(alpha_word, alphas, alpha_low, alpha_high, position, batch_size, PER_CLIP)
    strength = alpha * noise_coefficient(tl.load(total_differences + clip), height, width)
    deviation_x = (strength * width).to(tl.float32)
    deviation_y = (strength * height).to(tl.float32)

    if extents is None:
        min_x = tl.full([ELEMENTS], MAX_FINITE, tl.float32)
        min_y = tl.full([ELEMENTS], MAX_FINITE, tl.float32)
        max_x = tl.full([ELEMENTS], -MAX_FINITE, tl.float32)
        max_y = tl.full([ELEMENTS], -MAX_FINITE, tl.float32)
        for start in range(0, count, ELEMENTS):
            element = start + tl.arange(0, ELEMENTS)
            x, y, score = noised_joints(
                keypoints, scores, noised, max_frames, frames, first_row, length, element, element < count,
                deviation_x, deviation_y, seed, name_hash, noise_epoch, stream, CLIP_LEN, NUM_JOINTS,
            )  # fmt: skip
            present = score > 0.0
            min_x = tl.where(present, tl.minimum(min_x, x), min_x)
            min_y = tl.where(present, tl.minimum(min_y, y), min_y)
            max_x = tl.where(present, tl.maximum(max_x, x), max_x)
            max_y = tl.where(present, tl.maximum(max_y, y), max_y)
        left = tl.min(min_x).to(tl.float64)
        top = tl.min(min_y).to(tl.float64)
        right = tl.max(max_x).to(tl.float64)
        bottom = tl.max(max_y).to(tl.float64)
        centre_x = (left + right) / 2.0
        centre_y = (top + bottom) / 2.0
        larger = tl.maximum(right - left, bottom - top)
    else:
        centre_x = tl.load(extents + position * 3)
        centre_y = tl.load(extents + position * 3 + 1)
        larger = tl.load(extents + position * 3 + 2)

    is_person = larger >= tl.load(crop + 1)
    side = tl.where(is_person, tl.load(crop) * larger, tl.maximum(width, height))
    x0 = tl.where(is_person, centre_x, width / 2.0) - side / 2.0
    y0 = tl.where(is_person, centre_y, height / 2.0) - side / 2.0
    if WHOLE_FRAME:
        side = tl.maximum(width, height)
        x0 = side * 0.0
        y0 = x0
    crop_width = side
    crop_height = side
    if RANDOM_CROP:
        w0, w1, w2, w3 = random_words(seed, name_hash, epoch, stream, CROP_AND_FLIP, block)
        area_low = tl.load(crop + 2)
        aspect_low = tl.load(crop + 4)
        area = area_low + uniform(w0).to(tl.float64) * (tl.load(crop + 3) - area_low)
        aspect = tl.exp(aspect_low + uniform(w1).to(tl.float64) * (tl.load(crop + 5) - aspect_low))
        crop_width = side * tl.minimum(tl.sqrt(area * aspect), 1.0)
        crop_height = side * tl.minimum(tl.sqrt(area / aspect), 1.0)
        x0 += uniform(w2).to(tl.float64) * (side - crop_width)
        y0 += uniform(w3).to(tl.float64) * (side - crop_height)
    origin_x = x0.to(tl.float32)
    origin_y = y0.to(tl.float32)
    scale_x = (input_width / crop_width).to(tl.float32)
    scale_y = (input_height / crop_height).to(tl.float32)

    flips = FLIP == ALWAYS
    if FLIP == DRAWN:
        flip_word, _f1, _f2, _f3 = random_words(seed, name_hash, epoch, stream, CROP_AND_FLIP, block + 1)
        flips = uniform(flip_word).to(tl.float64) < tl.load(crop + 6)
    if views is not None:
        tl.store(views + position * 2, side)
        tl.store(views + position * 2 + 1, tl.cast(flips, tl.float64))
    last_column = tl.cast(input_width - 1, tl.float32)
    out += position * (MAX_PERSONS * PERSON_SIZE * 3)
    for start in range(0, MAX_PERSONS * PERSON_SIZE, ELEMENTS):
        element = start + tl.arange(0, ELEMENTS)
        source = element
        if flips:
            joint = element % NUM_JOINTS
            source = element - joint + tl.load(flipped_joint + joint)
        x, y, score = noised_joints(
            keypoints, scores, noised, max_frames, frames, first_row, length, source, element < count,
            deviation_x, deviation_y, seed, name_hash, noise_epoch, stream, CLIP_LEN, NUM_JOINTS,
        )  # fmt: skip
        present = score > 0.0
        x = (x - origin_x) * scale_x
        if flips:
            x = last_column - x
        y = (y - origin_y) * scale_y
        inside = element < MAX_PERSONS * PERSON_SIZE
        tl.store(out + element * 3, tl.where(present, x, 0.0), mask=inside)
        tl.store(out + element * 3 + 1, tl.where(present, y, 0.0), mask=inside)
        tl.store(out + element * 3 + 2, score, mask=inside)


@triton.jit(do_not_specialize=["seed", "epoch", "stream"])
def draw_uniform(
    indices,  # int64 [B]
    name_hashes,  # int64 [n]
    out,  # float32 [B, COUNT]
    seed,
    epoch,
    stream,
    batch_size,
    num_clips,
    PURPOSE: tl.constexpr,
    COUNT: tl.constexpr,
    CLIPS: tl.constexpr,
):
    position = tl.program_id(0).to(tl.int64) * CLIPS + tl.arange(0, CLIPS)
    inside = position < batch_size
    clip = tl.load(indices + position, mask=inside, other=0)
    name_hash = tl.load(name_hashes + tl.where((clip >= 0) & (clip < num_clips), clip, 0))
    block = tl.zeros([CLIPS], tl.int32)
    for index in range(COUNT):
        word = random_word(seed, name_hash, epoch, stream, PURPOSE, block + index)
        tl.store(out + position * COUNT + index, uniform(word), mask=inside)


def crop_numbers(settings: SamplingConfig) -> list[float]:
    """Return what ``place_joints`` reads of the settings, in its order."""
    aspects = map(math.log, settings.crop_aspect)
    return [settings.crop_padding, settings.min_box, *settings.crop_area, *aspects, settings.flip_probability]


def sample(
    arrays: dict[str, Tensor],
    settings: SamplingConfig,
    batch: PoseBatch,
    *,
    random: tuple[int, int, int],
    alphas: Tensor | tuple[float, float],
    families: Sequence[str],
    max_frames: int,
    train: bool,
    draw_frames: bool,
    flip: bool | None,
    filter: MotionFilter | None = None,
) -> None:
    """Fill ``batch``, of which ``indices`` are given.

    Args:
        arrays: of the packed clips, on the device, by the names of ``place_joints``; "labels", "limb_joints", "crop".
        random: seed, epoch and stream, signed.
        alphas: float64 [2, B], each clip's range of noise strength; or the one of all.
        families: of ``FAMILIES``; Gaussian noise alone is added on the way, to the frames that are sampled.
        max_frames: the most that a clip has.
        flip: mirror all clips, none, or (None) those drawn.
        filter: of the front end, where the settings ask for it.
    """
    count, num_clips = len(batch.indices), len(arrays["labels"])
    per_clip = isinstance(alphas, Tensor)
    flips = DRAWN if flip is None else ALWAYS if flip else NEVER
    whole_frame = settings.crop == "frame"
    names = ("keypoints", "scores", "offsets", "num_persons", "num_frames", "image_sizes", "name_hashes",
             "total_differences", "flipped_joint", "crop")  # fmt: skip
    frames, noised, lengths, places, frame_places = batch.frames, None, None, None, None
    extents, views = None, None
    if settings.has_front_end or tuple(families) != ("gaussian",):
        noised, lengths, places = noised_clips(
            arrays, settings, batch.indices, random=random, alphas=alphas, families=families,
            max_frames=max_frames, train=train,
        )  # fmt: skip
        frames, frame_places = torch.empty_like(batch.frames), batch.frames
    launch(
        choose_frames, (ceil_div(count, CLIPS_PER_PROGRAM),),
        batch.indices, arrays["name_hashes"], arrays["num_frames"], arrays["labels"],
        frames, batch.labels, batch.draws, lengths, *random, count, num_clips,
        CLIP_LEN=settings.clip_len, DRAW=draw_frames, RESAMPLE=settings.frame_rule == "resample",
        INPUT_DRAWS=0 if batch.draws is None else batch.draws.shape[1], CLIPS=CLIPS_PER_PROGRAM,
        num_warps=1, debug=True, sanitize_overflow=False, enable_fp_fusion=False,
    )  # fmt: skip
    if noised is not None and settings.has_front_end:
        drawn = None
        if draw_frames and settings.frame_rule == "means":
            drawn = noised.new_empty(count, settings.clip_len + 1)
            launch(
                draw_uniform, (ceil_div(count, CLIPS_PER_PROGRAM),), batch.indices, arrays["name_hashes"], drawn,
                *random, count, num_clips, PURPOSE=FRAMES.value, COUNT=settings.clip_len + 1,
                CLIPS=CLIPS_PER_PROGRAM, num_warps=1, enable_fp_fusion=False,
            )  # fmt: skip
        seen, chosen = _see(noised, lengths, frames, drawn, settings, filter)
        views = torch.empty(count, 2, dtype=torch.float64, device=noised.device)
        if settings.crop == "spread":
            size = BOX_OF_SPREAD * seen.deviation.double()
            extents = torch.cat([seen.center.double(), size[:, None]], dim=1)
        # From here on the clip is the frames that the front end made.
        noised, max_frames = seen.keypoints.contiguous(), settings.clip_len
        places = places.gather(1, chosen)
        frames = torch.arange(max_frames, dtype=torch.int32, device=noised.device).repeat(count, 1)
    launch(
        place_joints, (count,),
        *(arrays[name] for name in names), noised, places, batch.indices, alphas if per_clip else arrays["crop"],
        frames, batch.keypoints, frame_places, extents, views, *((0.0, 0.0) if per_clip else map(float, alphas)),
        *random, random[1] if train else 0, count, num_clips, max_frames, *settings.size,
        MAX_PERSONS=settings.max_persons, CLIP_LEN=settings.clip_len, NUM_JOINTS=arrays["scores"].shape[1],
        RANDOM_CROP=train and not whole_frame, WHOLE_FRAME=whole_frame,
        FLIP=flips.value, PER_CLIP=per_clip, ELEMENTS=ELEMENTS_PER_STEP,
        num_warps=4, enable_fp_fusion=False,
    )  # fmt: skip
    if views is not None:
        side, mirrored = views.unbind(1)
        share = seen.presence
        of_mirror = share.index_select(3, arrays["flipped_joint"].long())
        batch.presence.copy_(torch.where(mirrored[:, None, None, None] > 0, of_mirror, share))
        level = seen.noise.double().sqrt() / (side[:, None] / 2)
        batch.noise_levels.copy_(level.clamp(LEAST_LEVEL, MOST_LEVEL).log())


def _see(
    noised: Tensor,
    lengths: Tensor,
    frames: Tensor,
    drawn: Tensor | None,
    settings: SamplingConfig,
    filter: MotionFilter | None,
) -> tuple[SeenClips, Tensor]:
    """Return what the front end makes of noised clips, and the middles of what is behind each frame, int64 [B, T]."""
    if settings.frame_rule == "means":
        begins, ends = part_edges(lengths.long(), settings.clip_len, drawn, settings.window)
    else:
        begins = frames.long()
        ends = begins + 1
    return see_clips(noised, begins, ends, filter), (begins + ends - 1) // 2
