"""DSTformer, the two-stream spatio-temporal transformer of MotionBERT, with its published parameter names.

Tokens are one joint in one frame. A spatial layer attends over the joints of a frame, a temporal layer over the
frames of a joint; one stream runs space → time, the other time → space, and each pair of layers ends in a
learned mix of both.

Source: Zhu et al., "MotionBERT: A Unified Perspective on Learning Human Motion Representations", ICCV 2023.
"""

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastpose.models.recompute import Segmented
from fastpose.ops import attend

COORDINATES = 3  # x, y, score in; x, y, z out
NORM_EPS = 1e-6
INIT_STD = 0.02


class Attention(nn.Module):
    """Multi-head self-attention along an axis of [N, T, J, C]: 1, the frames of a joint; 2, the joints of a frame."""

    def __init__(self, dim: int, num_heads: int, axis: int):
        super().__init__()
        self.num_heads = num_heads
        self.axis = axis
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [N, T, J, C] → [N, T, J, C]."""
        if self.axis == 2 or x.device.type == "cpu":
            return self.proj(attend(self.qkv(x), self.num_heads, self.axis))
        # torch's attention takes frames last but one: tokens in that order are copied, not qkv of three times the size.
        x = x.transpose(1, 2).contiguous()  # [N, J, T, C]
        return self.proj(attend(self.qkv(x), self.num_heads, axis=2)).transpose(1, 2)


class FeedForward(nn.Module):
    """Linear, exact GELU, Linear."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """One pair of layers of a stream: space (`_s`) then time (`_t`), or time then space."""

    norm1_s: nn.LayerNorm
    attn_s: Attention
    norm2_s: nn.LayerNorm
    mlp_s: FeedForward
    norm1_t: nn.LayerNorm
    attn_t: Attention
    norm2_t: nn.LayerNorm
    mlp_t: FeedForward

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, *, time_first: bool):
        super().__init__()
        self.time_first = time_first
        for suffix, axis in {"s": 2, "t": 1}.items():
            self.add_module(f"norm1_{suffix}", nn.LayerNorm(dim, eps=NORM_EPS))
            self.add_module(f"attn_{suffix}", Attention(dim, num_heads, axis))
            self.add_module(f"norm2_{suffix}", nn.LayerNorm(dim, eps=NORM_EPS))
            self.add_module(f"mlp_{suffix}", FeedForward(dim, int(dim * mlp_ratio)))

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [N, T, J, C] → [N, T, J, C]."""
        if self.time_first:
            return self._over_joints(self._over_time(x))
        return self._over_time(self._over_joints(x))

    def _over_joints(self, x: Tensor) -> Tensor:
        x = x + self.attn_s(self.norm1_s(x))
        return x + self.mlp_s(self.norm2_s(x))

    def _over_time(self, x: Tensor) -> Tensor:
        x = x + self.attn_t(self.norm1_t(x))
        return x + self.mlp_t(self.norm2_t(x))


class PreLogits(nn.Module):
    """Linear and tanh: the last layer of the representation."""

    def __init__(self, dim: int, dim_rep: int):
        super().__init__()
        self.fc = nn.Linear(dim, dim_rep)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).tanh()


class DSTformer(Segmented):
    """Motions [N, T, J, 3] (x, y in [−1, 1], score in [0, 1]) → representation [N, T, J, dim_rep].

    Args:
        num_joints: J.
        dim_feat: C, the width of the tokens; a multiple of ``num_heads``.
        dim_rep: width of the representation.
        depth: pairs of layers in each stream.
        num_heads: attention heads of a layer.
        mlp_ratio: width of the hidden layer of a feed-forward part, in units of ``dim_feat``.
        maxlen: most frames; there is one temporal embedding for each.
    """

    blocks_st: nn.ModuleList
    blocks_ts: nn.ModuleList

    def __init__(
        self,
        *,
        num_joints: int,
        dim_feat: int,
        dim_rep: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        maxlen: int,
    ):
        super().__init__()
        self.joints_embed = nn.Linear(COORDINATES, dim_feat)
        self.pos_embed = nn.Parameter(torch.empty(1, num_joints, dim_feat))
        self.temp_embed = nn.Parameter(torch.empty(1, maxlen, 1, dim_feat))
        for name, time_first in {"blocks_st": False, "blocks_ts": True}.items():
            blocks = [Block(dim_feat, num_heads, mlp_ratio, time_first=time_first) for _ in range(depth)]
            self.add_module(name, nn.ModuleList(blocks))
        self.ts_attn = nn.ModuleList(nn.Linear(2 * dim_feat, 2) for _ in range(depth))
        self.norm = nn.LayerNorm(dim_feat, eps=NORM_EPS)
        self.pre_logits = PreLogits(dim_feat, dim_rep)
        self.head = nn.Linear(dim_rep, COORDINATES)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as published; each mix of the streams starts as their mean."""
        for embedding in (self.pos_embed, self.temp_embed):
            nn.init.trunc_normal_(embedding, std=INIT_STD)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INIT_STD)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        for mix in self._mixes():
            nn.init.zeros_(mix.weight)
            nn.init.constant_(mix.bias, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self._embed(x)  # [N, T, J, C]
        for block_st, block_ts, mix in zip(self.blocks_st, self.blocks_ts, self._mixes(), strict=True):
            x = _fuse(self.segment(block_st)(x), self.segment(block_ts)(x), mix)
        return self.pre_logits(self.norm(x))

    def _mixes(self) -> "Iterable[nn.Linear]":
        return cast("Iterable[nn.Linear]", self.ts_attn)

    def _embed(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # eight bits would move joints by pixels
            tokens = self.joints_embed(x.to(self.joints_embed.weight.dtype))
            return tokens + self.pos_embed + self.temp_embed[:, : x.shape[1]]


def _fuse(st: Tensor, ts: Tensor, mix: nn.Linear) -> Tensor:
    """Return both streams [N, T, J, C], weighted by a softmax over two logits for each token."""
    with torch.autocast(st.device.type, enabled=False):
        from_st, from_ts = (mix.weight[0] - mix.weight[1]).chunk(2)  # [C]
        logit = st @ from_st + ts @ from_ts + (mix.bias[0] - mix.bias[1])  # [N, T, J]
        return torch.lerp(ts, st, logit.sigmoid().unsqueeze(-1))
