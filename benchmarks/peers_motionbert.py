"""What today's users of MotionBERT train: plain fp32 attention on transposed copies, one layer after the other."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Product, softmax, product; the temporal kind first copies its tokens to joint-major order.

    With ``fused``, torch's scaled_dot_product_attention.
    """

    def __init__(self, dim: int, heads: int, temporal: bool, fused: bool):
        super().__init__()
        self.heads, self.temporal, self.fused = heads, temporal, fused
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        rows, joints, dim = x.shape  # rows = clips × frames
        q, k, v = (
            self.qkv(x).reshape(rows, joints, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        )  # [rows, heads, joints, d]
        if self.temporal:
            q, k, v = (
                y.reshape(-1, frames, self.heads, joints, y.shape[-1]).permute(0, 2, 3, 1, 4)
                for y in (q, k, v)
            )
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            scores = (q @ k.transpose(-2, -1)) * (dim // self.heads) ** -0.5
            y = scores.softmax(dim=-1) @ v
        if self.temporal:
            y = y.permute(0, 3, 2, 1, 4).reshape(rows, joints, dim)
        else:
            y = y.transpose(1, 2).reshape(rows, joints, dim)
        return self.proj(y)


class Layer(nn.Module):
    def __init__(self, dim: int, heads: int, ratio: int, temporal: bool, fused: bool):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attention = SelfAttention(dim, heads, temporal, fused)
        self.mlp = nn.Sequential(nn.Linear(dim, ratio * dim), nn.GELU(), nn.Linear(ratio * dim, dim))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        x = x + self.attention(self.norm1(x), frames)
        return x + self.mlp(self.norm2(x))


class PlainMotionBERT(nn.Module):
    def __init__(
        self,
        dim: int,
        ratio: int,
        classes: int,
        depth=5,
        heads=8,
        rep=512,
        maxlen=243,
        joints=17,
        fused=False,
    ):
        super().__init__()
        self.joints_embed = nn.Linear(3, dim)
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, joints, dim))
        self.temp_embed = nn.Parameter(0.02 * torch.randn(1, maxlen, 1, dim))
        orders = ((False, True), (True, False))
        self.streams = nn.ModuleList(
            nn.ModuleList(
                nn.ModuleList(Layer(dim, heads, ratio, kind, fused) for kind in order) for _ in range(depth)
            )
            for order in orders
        )
        self.mixes = nn.ModuleList(nn.Linear(2 * dim, 2) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.representation = nn.Linear(dim, rep)
        self.pose = nn.Linear(rep, 3)
        self.dropout = nn.Dropout(0.5)
        self.fc1, self.bn, self.fc2 = (
            nn.Linear(joints * rep, 2048),
            nn.BatchNorm1d(2048),
            nn.Linear(2048, classes),
        )

    def forward(self, motions: Tensor) -> Tensor:
        """[B, M, T, 17, 3] → logits [B, K]."""
        clips, persons, frames, joints, _ = motions.shape
        x = self.joints_embed(motions.reshape(-1, joints, 3)) + self.pos_embed
        x = x.reshape(-1, frames, joints, x.shape[-1]) + self.temp_embed[:, :frames]
        x = x.reshape(-1, joints, x.shape[-1])
        for first, second, mix in zip(*self.streams, self.mixes, strict=True):
            a = b = x
            for layer in first:
                a = layer(a, frames)
            for layer in second:
                b = layer(b, frames)
            weights = mix(torch.cat([a, b], dim=-1)).softmax(dim=-1)
            x = a * weights[:, :, 0:1] + b * weights[:, :, 1:2]
        x = torch.tanh(self.representation(self.norm(x)))
        x = self.dropout(x.reshape(clips, persons, frames, joints, -1))
        x = x.permute(0, 1, 3, 4, 2).mean(dim=-1).reshape(clips, persons, -1).mean(dim=1)
        return self.fc2(F.relu(self.bn(self.fc1(x))))
