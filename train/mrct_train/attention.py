"""Self-attention between the pixels of a feature map, as in DDPM and ADM (Ho et al. 2020; Dhariwal and Nichol 2021)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from mrct_train.layers import group_norm, zeroed


class Attention(nn.Module):
    """h + project(attend(qkv(norm(h)))); it starts as h, because `project` starts as zero."""

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.attend = Attend(heads)
        self.project = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, h: Tensor) -> Tensor:
        """[B, C, H, W] of h [B, C, H, W]."""
        out: Tensor = h + self.project(self.attend(self.qkv(self.norm(h))))
        return out


class Attend(nn.Module):
    """softmax(q^T k / sqrt(d)) v of each head, q, k and v [d, H W] its channels (Vaswani et al. 2017, equation 1)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, qkv: Tensor) -> Tensor:
        """[B, C, H, W] of qkv [B, 3C, H, W]: all of q, then all of k, then all of v, each head after head."""
        q, k, v = (
            part.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3)
            for part in qkv.chunk(3, dim=1)
        )
        attended = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = attended.transpose(2, 3).flatten(1, 2).unflatten(2, qkv.shape[2:])
        return out
