"""Mixed precision: a copy of a network whose convolutions run in float16, with everything fragile in float32.

The cast is made in PyTorch before the export, where every place is known, not on the graph afterwards. In float32 stay the
inputs and the output, the time embedding with its linear layers (its arguments reach 2 pi 30 * 4 rad, and half has
eleven bits), all preconditioning, the statistics of every GroupNorm (a sum of squares overflows half beyond |h| of 256),
the products and the softmax of attention (q k overflows half long before q and k do, and an audit sees only these), and
the convolutions that an audit names. Between them activations are in half, which halves what an engine has to move.
"""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
from torch import Tensor, nn

from mrct_runtime.errors import UsageError
from mrct_train.attention import Attend
from mrct_train.unet import UNet


class Cast(nn.Module):
    """layer(h) of h cast to one precision, the output cast to another."""

    def __init__(self, layer: nn.Module, into: torch.dtype, out: torch.dtype) -> None:
        super().__init__()
        self.layer, self.into, self.out = layer, into, out

    def forward(self, h: Tensor) -> Tensor:
        """The layer's output, in `out`."""
        found: Tensor = self.layer(h.to(self.into)).to(self.out)
        return found


def convolutions(network: nn.Module) -> tuple[str, ...]:
    """The names of the UNet's convolutions, in order: what can be kept in float32 one by one."""
    unet = unet_of(network)
    return tuple(name for name, layer in unet.named_modules() if isinstance(layer, nn.Conv2d))


def half_network(
    network: nn.Module, keep: Collection[str] = (), *, emulated: bool = False
) -> nn.Module:
    """A copy of the network in mixed precision; its inputs and output are float32 as before.

    `keep` names convolutions that stay in float32, with the sums that their outputs become a part of; UsageError where
    there is none of that name. `emulated` is the copy to measure with on a processor without float16 arithmetic: every
    value that half would round is rounded.
    """
    if unknown := set(keep) - set(convolutions(network)):
        raise UsageError(f"the network has no convolution {min(unknown)!r} to keep in float32")
    mixed = copy.deepcopy(network).eval()
    unet = unet_of(mixed)
    for name, layer in list(unet.named_modules()):
        match layer:
            case nn.Conv2d():
                kept = Cast(layer, torch.float32, torch.float32)
                unet.set_submodule(name, kept if name in keep else _half(layer, emulated=emulated))
            case nn.GroupNorm() | Attend():
                # float32 also on the way out, so that the Swish after a norm is part of the island
                unet.set_submodule(name, Cast(layer, torch.float32, torch.float32))
            case nn.Linear():
                block = name.rpartition(".")[0]
                out = torch.float32 if f"{block}.conv1" in keep else torch.float16
                unet.set_submodule(name, Cast(layer, torch.float32, out))
    last = unet.get_submodule("last")
    assert isinstance(last, Cast)
    last.out = torch.float32
    return mixed


def _half(layer: nn.Conv2d, *, emulated: bool) -> Cast:
    """The convolution in float16; emulated as on a tensor core, operands and result in float16, sums in float32."""
    inside = layer.half()
    if emulated:
        return Cast(
            Cast(inside.float(), torch.float32, torch.float16), torch.float16, torch.float16
        )
    return Cast(inside, torch.float16, torch.float16)


def unet_of(network: nn.Module) -> UNet:
    """The UNet inside; UsageError where there is none."""
    unet = getattr(network, "unet", None)
    if not isinstance(unet, UNet):
        raise UsageError(f"no mixed precision for {type(network).__name__}: it holds no UNet")
    return unet
