"""Triton kernels that sample clips as csrc/sample/clip_sampler.cpp does, from the same Philox numbers.

`choose_frames` draws the frames of several clips per program, `place_joints` noises, crops and flips one clip
per program. It goes over the clip twice, for the box and for the result, and draws the noise anew each time:
cheaper than keeping it.
"""

import math

import triton
import triton.language as tl
from torch import Tensor

from fastpose.data.sampling.batch import PoseBatch
from fastpose.ops import limits
from fastpose.ops.launch import ceil_div, launch
from fastpose.settings import SamplingConfig

CLIPS_PER_PROGRAM = 32
ELEMENTS_PER_STEP = 512

FRAMES = tl.constexpr(0)  # purposes of random numbers
NOISE = tl.constexpr(1)
CROP_AND_FLIP = tl.constexpr(2)
ALPHA = tl.constexpr(3)
INPUT = tl.constexpr(4)

MAX_COORDINATE = tl.constexpr(limits.MAX_COORDINATE)
MAX_FINITE = tl.constexpr(3.4028234663852886e38)
NEVER = tl.constexpr(0)  # flips
DRAWN = tl.constexpr(1)
ALWAYS = tl.constexpr(2)


@triton.jit
def random_words(seed, name_hash, epoch, stream, PURPOSE: tl.constexpr, block):
    """Return the four words of blocks (int32) of a purpose; name_hash int64, epoch int32, as bits."""
    low = (name_hash & 0xFFFFFFFF).to(tl.uint32)
    high = ((name_hash >> 32) & 0xFFFFFFFF).to(tl.uint32)
    last = (tl.cast(stream, tl.uint32) << 28) | (PURPOSE << 24) | block.to(tl.uint32)
    return tl.philox(seed, low, high, tl.cast(epoch, tl.int32).to(tl.uint32, bitcast=True), last)


@triton.jit
def below(word, n):
    """Return an integer of [0, n), int32."""
    return tl.umulhi(word, n.to(tl.uint32)).to(tl.int32)


@triton.jit
def uniform(word):
    """Return multiples of 2**-24 in [0, 1), float32."""
    return (word >> 8).to(tl.int32).to(tl.float32) * 5.9604644775390625e-08


@triton.jit
def log_positive(x):
    """Return the logarithm of normal x > 0, by the polynomial of csrc/sample/normals.cpp."""
    bits = x.to(tl.int32, bitcast=True)
    exponent = (bits - 0x3F3504F3) >> 23
    f = (bits - (exponent << 23)).to(tl.float32, bitcast=True) - 1.0
    p = f * -0.07859617471694946 + 0.12881648540496826
    p = p * f - 0.13128753006458282
    p = p * f + 0.14181192219257355
    p = p * f - 0.16624553501605988
    p = p * f + 0.2000228613615036
    p = p * f - 0.25000810623168945
    p = p * f + 0.33333316445350647
    e = exponent.to(tl.float32)
    return e * 0.693359375 + (f + (f * f * (f * p - 0.5) + e * -0.00021219444170128554))


@triton.jit
def cos_sin(turn):
    """Return cos and sin of 2π·turn·2**-24, int32 turn of [0, 2**24), by the polynomials of csrc/sample."""
    quarter = (turn + (1 << 21)) >> 22
    r = (turn - (quarter << 22)).to(tl.float32) * 5.9604644775390625e-08
    z = r * r
    sin = r * (((z * -75.40206909179688 + 81.5925521850586) * z - 41.3416633605957) * z + 6.2831854820251465)
    cos = 1.0 + z * (
        ((z * 59.42434310913086 - 85.44882202148438) * z + 64.93936920166016) * z - 19.739208221435547
    )
    odd = (quarter & 1) == 1
    turned_cos = tl.where(odd, sin, cos)
    turned_sin = tl.where(odd, cos, sin)
    turned_cos = tl.where(((quarter + 1) & 2) == 2, -turned_cos, turned_cos)
    return turned_cos, tl.where((quarter & 2) == 2, -turned_sin, turned_sin)


@triton.jit
def normals(radius_word, angle_word):
    """Return two standard normals, float32, by Box-Muller."""
    u1 = ((radius_word >> 8).to(tl.int32) + 1).to(tl.float32) * 5.9604644775390625e-08
    radius = tl.sqrt_rn(-2.0 * log_positive(u1))
    cos, sin = cos_sin((angle_word >> 8).to(tl.int32))
    return radius * cos, radius * sin


@triton.jit(do_not_specialize=["seed", "epoch", "stream"])
def choose_frames(
    indices,  # int64 [B]
    name_hashes,  # int64 [n]
    num_frames,  # int32 [n]
    labels,  # int64 [n]
    frames,  # out: int32 [B, T]
    batch_labels,  # out: int64 [B]
    draws,  # out: float32 [B, INPUT_DRAWS]
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
    length = tl.load(num_frames + clip)
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
            w0, w1, w2, w3 = random_words(seed, name_hash, epoch, stream, FRAMES, i // 4)
            word = tl.where(i % 4 < 2, tl.where(i % 4 == 0, w0, w1), tl.where(i % 4 == 2, w2, w3))
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
    keypoints, scores, frames, first_row, length, element, mask, deviation_x, deviation_y,
    seed, name_hash, noise_epoch, stream, CLIP_LEN: tl.constexpr, NUM_JOINTS: tl.constexpr,
):  # fmt: skip
    """Return x, y, score (0 where missing) of elements (person · CLIP_LEN + position) · NUM_JOINTS + joint."""
    joint = element % NUM_JOINTS
    frame = tl.load(frames + element // NUM_JOINTS % CLIP_LEN, mask=mask, other=0)
    person = element // (NUM_JOINTS * CLIP_LEN)
    at = (first_row + person.to(tl.int64) * length + frame) * NUM_JOINTS + joint
    x = tl.load(keypoints + at * 2, mask=mask, other=0.0)
    y = tl.load(keypoints + at * 2 + 1, mask=mask, other=0.0)
    score = tl.load(scores + at, mask=mask, other=0.0)
    near = (tl.abs(x) <= MAX_COORDINATE) & (tl.abs(y) <= MAX_COORDINATE)
    present = near & (score > 0.0) & (score <= MAX_FINITE)
    if deviation_x > 0.0:
        of_frame = person * NUM_JOINTS + joint
        w0, w1, w2, w3 = random_words(seed, name_hash + frame, noise_epoch, stream, NOISE, of_frame // 2)
        odd = of_frame % 2 == 1
        dx, dy = normals(tl.where(odd, w2, w0), tl.where(odd, w3, w1))
        x += deviation_x * dx
        y += deviation_y * dy
    return tl.where(present, x, 0.0), tl.where(present, y, 0.0), tl.where(present, score, 0.0)


@triton.jit(do_not_specialize=["seed", "epoch", "stream", "noise_epoch", "alpha_low", "alpha_high"])
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
    indices,  # int64 [B]
    alphas,  # float64 [2, B], low and high; PER_CLIP only
    frames,  # int32 [B, T]
    out,  # float32 [B, M, T, V, 3]
    alpha_low,
    alpha_high,
    seed,
    epoch,
    stream,
    noise_epoch,  # 0 outside training, where a video has one noise, whichever of its samples is drawn
    batch_size,
    num_clips,
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
    PERSON_SIZE: tl.constexpr = CLIP_LEN * NUM_JOINTS
    count = tl.minimum(tl.load(num_persons + clip), MAX_PERSONS) * PERSON_SIZE

    if PER_CLIP:
        low = tl.load(alphas + position)
        high = tl.load(alphas + batch_size + position)
    else:
        low = tl.cast(alpha_low, tl.float64)
        high = tl.cast(alpha_high, tl.float64)
    block = tl.cast(0, tl.int32)
    alpha_word, _a1, _a2, _a3 = random_words(seed, name_hash, noise_epoch, stream, ALPHA, block)
    full_hd = tl.sqrt(4852800.0 / (width * width + height * height))  # 1920² + 1080²
    coefficient = tl.sqrt(tl.load(total_differences + clip) * full_hd / 10000.0)
    coefficient = tl.minimum(tl.maximum(coefficient, 0.2), 1.0)
    strength = (low + uniform(alpha_word).to(tl.float64) * (high - low)) * coefficient
    deviation_x = (strength * width).to(tl.float32)
    deviation_y = (strength * height).to(tl.float32)

    min_x = tl.full([ELEMENTS], MAX_FINITE, tl.float32)
    min_y = tl.full([ELEMENTS], MAX_FINITE, tl.float32)
    max_x = tl.full([ELEMENTS], -MAX_FINITE, tl.float32)
    max_y = tl.full([ELEMENTS], -MAX_FINITE, tl.float32)
    for start in range(0, count, ELEMENTS):
        element = start + tl.arange(0, ELEMENTS)
        x, y, score = noised_joints(
            keypoints, scores, frames, first_row, length, element, element < count, deviation_x, deviation_y,
            seed, name_hash, noise_epoch, stream, CLIP_LEN, NUM_JOINTS,
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

    larger = tl.maximum(right - left, bottom - top)
    is_person = larger >= tl.load(crop + 1)
    side = tl.where(is_person, tl.load(crop) * larger, tl.maximum(width, height))
    x0 = tl.where(is_person, (left + right) / 2.0, width / 2.0) - side / 2.0
    y0 = tl.where(is_person, (top + bottom) / 2.0, height / 2.0) - side / 2.0
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
    last_column = tl.cast(input_width - 1, tl.float32)
    out += position * (MAX_PERSONS * PERSON_SIZE * 3)
    for start in range(0, MAX_PERSONS * PERSON_SIZE, ELEMENTS):
        element = start + tl.arange(0, ELEMENTS)
        source = element
        if flips:
            joint = element % NUM_JOINTS
            source = element - joint + tl.load(flipped_joint + joint)
        x, y, score = noised_joints(
            keypoints, scores, frames, first_row, length, source, element < count, deviation_x, deviation_y,
            seed, name_hash, noise_epoch, stream, CLIP_LEN, NUM_JOINTS,
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
    train: bool,
    draw_frames: bool,
    flip: bool | None,
) -> None:
    """Fill ``batch``, of which ``indices`` are given.

    Args:
        arrays: of the packed clips, on the device, by the names of ``place_joints``; "labels", and "crop".
        random: seed, epoch and stream, signed.
        alphas: float64 [2, B], each clip's range of noise strength; or the one of all.
        flip: mirror all clips, none, or (None) those drawn.
    """
    count, num_clips = len(batch.indices), len(arrays["labels"])
    per_clip = isinstance(alphas, Tensor)
    flips = DRAWN if flip is None else ALWAYS if flip else NEVER
    whole_frame = settings.crop == "frame"
    names = ("keypoints", "scores", "offsets", "num_persons", "num_frames", "image_sizes", "name_hashes",
             "total_differences", "flipped_joint", "crop")  # fmt: skip
    launch(
        choose_frames, (ceil_div(count, CLIPS_PER_PROGRAM),),
        batch.indices, arrays["name_hashes"], arrays["num_frames"], arrays["labels"],
        batch.frames, batch.labels, batch.draws, *random, count, num_clips,
        CLIP_LEN=settings.clip_len, DRAW=draw_frames, RESAMPLE=settings.frame_rule == "resample",
        INPUT_DRAWS=0 if batch.draws is None else batch.draws.shape[1], CLIPS=CLIPS_PER_PROGRAM,
        num_warps=1, debug=True, sanitize_overflow=False, enable_fp_fusion=False,
    )  # fmt: skip
    launch(
        place_joints, (count,),
        *(arrays[name] for name in names), batch.indices, alphas if per_clip else arrays["crop"],
        batch.frames, batch.keypoints, *((0.0, 0.0) if per_clip else map(float, alphas)),
        *random, random[1] if train else 0, count, num_clips, *settings.size,
        MAX_PERSONS=settings.max_persons, CLIP_LEN=settings.clip_len, NUM_JOINTS=arrays["scores"].shape[1],
        RANDOM_CROP=train and not whole_frame, WHOLE_FRAME=whole_frame,
        FLIP=flips.value, PER_CLIP=per_clip, ELEMENTS=ELEMENTS_PER_STEP,
        num_warps=4, enable_fp_fusion=False,
    )  # fmt: skip
