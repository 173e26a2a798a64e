"""The random numbers of csrc/sample/philox.hpp and normals.hpp for Triton kernels."""

import triton
import triton.language as tl

FRAMES = tl.constexpr(0)  # purposes of random numbers
NOISE = tl.constexpr(1)
CROP_AND_FLIP = tl.constexpr(2)
ALPHA = tl.constexpr(3)
INPUT = tl.constexpr(4)
HITS = tl.constexpr(5)
LOSSES = tl.constexpr(6)


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


@triton.jit
def laplace(word):
    """Return a Laplace number of unit variance, float32."""
    u = ((word >> 8 & 0x7FFFFF).to(tl.int32) + 1).to(tl.float32) * 1.1920928955078125e-07
    size = log_positive(u) * -0.70710678
    return tl.where(word >> 31 == 1, -size, size)


@triton.jit
def centred_uniform(word):
    """Return a uniform number of mean 0 and unit variance, float32."""
    return ((word >> 8).to(tl.int32) * 2 - 16777215).to(tl.float32) * (1.7320508 * 5.9604644775390625e-08)


@triton.jit
def expm1_positive(x):
    """Return exp(x) - 1 for x in [0, 80), float32, as csrc/sample/normals.cpp does."""
    k = (x * 1.44269504 + 0.5).to(tl.int32)
    whole = k.to(tl.float32)
    f = (x - whole * 0.693359375) - whole * -0.00021219444170128554
    p = f * (1.0 / 5040) + 1.0 / 720
    p = p * f + 1.0 / 120
    p = p * f + 1.0 / 24
    p = p * f + 1.0 / 6
    p = p * f + 0.5
    power = ((k + 127) << 23).to(tl.float32, bitcast=True)
    return power * (f + f * f * p) + (power - 1.0)


@triton.jit
def student(radius_word, angle_word):
    """Return two numbers of Student's t of 3 degrees of freedom and unit variance, float32."""
    u = ((radius_word >> 8).to(tl.int32) + 1).to(tl.float32) * 5.9604644775390625e-08
    radius = tl.sqrt_rn(expm1_positive(log_positive(u) * -0.66666667))
    cos, sin = cos_sin((angle_word >> 8).to(tl.int32))
    return radius * cos, radius * sin


@triton.jit
def word_of(w0, w1, w2, w3, index):
    """Return word ``index`` % 4 of a block."""
    i = index % 4
    return tl.where(i < 2, tl.where(i == 0, w0, w1), tl.where(i == 2, w2, w3))


@triton.jit
def random_word(seed, name_hash, epoch, stream, PURPOSE: tl.constexpr, index):
    """Return word ``index`` (int32) of a purpose: word index % 4 of block index // 4."""
    w0, w1, w2, w3 = random_words(seed, name_hash, epoch, stream, PURPOSE, index // 4)
    return word_of(w0, w1, w2, w3, index)


@triton.jit
def random_pair(seed, name_hash, epoch, stream, PURPOSE: tl.constexpr, index):
    """Return words 2 · ``index`` and 2 · ``index`` + 1 of a purpose."""
    w0, w1, w2, w3 = random_words(seed, name_hash, epoch, stream, PURPOSE, index // 2)
    odd = index % 2 == 1
    return tl.where(odd, w2, w0), tl.where(odd, w3, w1)


@triton.jit
def drawn_alpha(word, alphas, alpha_low, alpha_high, position, batch_size, PER_CLIP: tl.constexpr):
    """Return a clip's noise strength, float64: of its row of ``alphas`` [2, B], or of the range of all."""
    if PER_CLIP:
        low = tl.load(alphas + position)
        high = tl.load(alphas + batch_size + position)
    else:
        low = tl.cast(alpha_low, tl.float64)
        high = tl.cast(alpha_high, tl.float64)
    return low + uniform(word).to(tl.float64) * (high - low)


@triton.jit
def noise_coefficient(total_difference, height, width):
    """Return c of a clip, float64, of float64 numbers in pixels."""
    full_hd = tl.sqrt(4852800.0 / (width * width + height * height))  # 1920² + 1080²
    coefficient = tl.sqrt(total_difference * full_hd / 10000.0)
    return tl.minimum(tl.maximum(coefficient, 0.2), 1.0)
