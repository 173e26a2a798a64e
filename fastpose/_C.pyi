"""Types of the compiled extension (csrc/bindings/); tests/test_extension_stub.py compares the two."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

_Address: TypeAlias = int  # of a tensor's first element; 0 where there is none
_Shape: TypeAlias = Sequence[int]  # of the length that the C++ signature states

class HeatmapMode:
    HEATMAP: ClassVar[HeatmapMode]
    LIMB: ClassVar[HeatmapMode]
    GRAYSCALE_SUM: ClassVar[HeatmapMode]
    GRAYSCALE_MAX: ClassVar[HeatmapMode]
    __members__: ClassVar[dict[str, HeatmapMode]]
    def __init__(self, value: int) -> None: ...
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class ElementType:
    FLOAT32: ClassVar[ElementType]
    FLOAT16: ClassVar[ElementType]
    BFLOAT16: ClassVar[ElementType]
    __members__: ClassVar[dict[str, ElementType]]
    def __init__(self, value: int) -> None: ...
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class HeatmapLayout:
    CONTIGUOUS: ClassVar[HeatmapLayout]
    CHANNELS_LAST: ClassVar[HeatmapLayout]
    __members__: ClassVar[dict[str, HeatmapLayout]]
    def __init__(self, value: int) -> None: ...
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class PackedSampler:
    def __init__(
        self,
        keypoints: NDArray[np.float32],
        scores: NDArray[np.float32],
        offsets: NDArray[np.int64],
        num_persons: NDArray[np.int32],
        num_frames: NDArray[np.int32],
        image_sizes: NDArray[np.int32],
        name_hashes: NDArray[np.uint64],
        total_differences: NDArray[np.float64],
        flipped_joint: NDArray[np.int64],
        limb_joints: NDArray[np.uint8],
        *,
        seed: int,
        train: bool,
        settings: Mapping[str, Sequence[float]],
        prior: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None: ...
    def sample(
        self,
        indices: NDArray[np.int64],
        alpha_low: NDArray[np.float64],
        alpha_high: NDArray[np.float64],
        families: NDArray[np.int32],
        *,
        epoch: int,
        stream: int,
        draw_frames: bool,
        flip: bool | None,
        threads: int,
        keypoints: NDArray[np.float32],
        frames: NDArray[np.int32],
        draws: NDArray[np.float32] | None,
        presence: NDArray[np.float32] | None = None,
        noise_levels: NDArray[np.float32] | None = None,
    ) -> None: ...

class _PackedSkeletons(TypedDict):
    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    num_persons: NDArray[np.int32]
    num_frames: NDArray[np.int32]
    errors: list[str]
    lost_joints: NDArray[np.int64]
    bytes: int

def hardware_threads() -> int: ...
def parse_skeleton(
    text: Buffer,
) -> (
    tuple[tuple[int, int, str], None]
    | tuple[None, tuple[int, int, list[tuple[int, NDArray[np.int32], NDArray[np.float32]]]]]
): ...
def scan_pickle(pickle: Buffer) -> str: ...
def select_bodies(
    bodies: Sequence[tuple[NDArray[np.int32], NDArray[np.float32]]],
    num_frames: int,
    max_bodies: int,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]: ...
def pack_skeletons(
    paths: Iterable[str | bytes | os.PathLike[str]], max_bodies: int, threads: int
) -> _PackedSkeletons: ...
def smooth_tracks(
    keypoints: NDArray[np.float32],
    present: NDArray[np.bool],
    begins: NDArray[np.int64],
    remainder: bool = False,
    threads: int = 1,
) -> NDArray[np.float32]: ...
def total_differences(
    keypoints: NDArray[np.float32],
    scores: NDArray[np.float32],
    offsets: NDArray[np.int64],
    num_frames: NDArray[np.int32],
    threads: int = 1,
) -> NDArray[np.float64]: ...
def render_heatmaps(
    keypoints: _Address,
    shape: _Shape,
    output: _Address,
    size: _Shape,
    sigma: float,
    mode: HeatmapMode,
    limbs: Sequence[int],
    element: ElementType,
    layout: HeatmapLayout,
    threads: int,
) -> None: ...
def render_heatmaps_backward(
    gradient: _Address,
    strides: _Shape,
    keypoints: _Address,
    shape: _Shape,
    result: _Address,
    size: _Shape,
    sigma: float,
    mode: HeatmapMode,
    limbs: Sequence[int],
    element: ElementType,
    threads: int,
) -> None: ...
def depthwise_conv(
    shape: _Shape,
    kernel: _Shape,
    stride: _Shape,
    element: ElementType,
    threads: int,
    input: _Address,
    weight: _Address,
    output: _Address,
) -> None: ...
def depthwise_conv_gradients(
    shape: _Shape,
    kernel: _Shape,
    stride: _Shape,
    element: ElementType,
    threads: int,
    input: _Address,
    gradient: _Address,
    weight: _Address,
    input_gradient: _Address,
    weight_gradient: _Address,
) -> None: ...
def norm_depthwise(
    shape: _Shape,
    kernel: _Shape,
    stride: _Shape,
    element: ElementType,
    threads: int,
    relu: bool,
    eps: float,
    input: _Address,
    norm_weight: _Address,
    norm_bias: _Address,
    weight: _Address,
    output: _Address,
    mean: _Address,
    variance: _Address,
    given: bool,
) -> None: ...
def norm_depthwise_backward(
    shape: _Shape,
    kernel: _Shape,
    stride: _Shape,
    element: ElementType,
    threads: int,
    relu: bool,
    eps: float,
    output_gradient: _Address,
    input: _Address,
    norm_weight: _Address,
    norm_bias: _Address,
    weight: _Address,
    mean: _Address,
    variance: _Address,
    input_gradient: _Address,
    norm_weight_gradient: _Address,
    norm_bias_gradient: _Address,
    weight_gradient: _Address,
) -> None: ...
def pose_stem(
    keypoints: _Address,
    shape: _Shape,
    size: _Shape,
    sigma: float,
    mode: HeatmapMode,
    limbs: Sequence[int],
    weight_shape: _Shape,
    stride: _Shape,
    padding: _Shape,
    element: ElementType,
    threads: int,
    weight: _Address,
    output: _Address,
) -> None: ...
def pose_stem_weight_gradient(
    keypoints: _Address,
    shape: _Shape,
    size: _Shape,
    sigma: float,
    mode: HeatmapMode,
    limbs: Sequence[int],
    weight_shape: _Shape,
    stride: _Shape,
    padding: _Shape,
    element: ElementType,
    threads: int,
    gradient: _Address,
    result: _Address,
) -> None: ...
def pose_stem_keypoint_gradient(
    keypoints: _Address,
    shape: _Shape,
    size: _Shape,
    sigma: float,
    mode: HeatmapMode,
    limbs: Sequence[int],
    weight_shape: _Shape,
    stride: _Shape,
    padding: _Shape,
    element: ElementType,
    threads: int,
    weight: _Address,
    gradient: _Address,
    result: _Address,
) -> None: ...
def attend(
    shape: _Shape,
    element: ElementType,
    qkv: _Address,
    output: _Address,
    threads: int,
) -> None: ...
def attend_backward(
    shape: _Shape,
    element: ElementType,
    qkv: _Address,
    gradient: _Address,
    result: _Address,
    threads: int,
) -> None: ...
def batch_norm(
    rows: int,
    channels: int,
    relu: bool,
    eps: float,
    element: ElementType,
    threads: int,
    input: _Address,
    residual: _Address,
    weight: _Address,
    bias: _Address,
    output: _Address,
    mean: _Address,
    variance: _Address,
    given: bool,
) -> None: ...
def batch_norm_backward(
    rows: int,
    channels: int,
    relu: bool,
    eps: float,
    element: ElementType,
    threads: int,
    output_gradient: _Address,
    input: _Address,
    output: _Address,
    weight: _Address,
    bias: _Address,
    mean: _Address,
    variance: _Address,
    input_gradient: _Address,
    residual_gradient: _Address,
    weight_gradient: _Address,
    bias_gradient: _Address,
) -> None: ...
def row_conv(
    shape: Sequence[int],
    out_channels: int,
    kernel: Sequence[int],
    stride: Sequence[int],
    threads: int,
    input: _Address,
    norm: Sequence[_Address],
    eps: float,
    relu: bool,
    weight: _Address,
    output: _Address,
    mean: _Address,
    variance: _Address,
    scale: _Address,
    shift: _Address,
    residual: _Address,
    finish_relu: bool,
) -> None: ...
def row_conv_backward(
    shape: Sequence[int],
    out_channels: int,
    kernel: Sequence[int],
    stride: Sequence[int],
    threads: int,
    input: _Address,
    norm: Sequence[_Address],
    eps: float,
    relu: bool,
    weight: _Address,
    output: _Address,
    output_mean: _Address,
    output_gradient: _Address,
    mean_gradient: _Address,
    variance_gradient: _Address,
    input_gradient: _Address,
    weight_gradient: _Address,
    norm_gradients: _Address,
) -> None: ...
def int8_conv(
    shape: Sequence[int],
    out_channels: int,
    kernel: Sequence[int],
    stride: Sequence[int],
    threads: int,
    input: _Address,
    weights: _Address,
    weight_sums: _Address,
    output: _Address,
    scale: _Address,
    shift: _Address,
    residual: _Address,
    relu: bool,
) -> None: ...
