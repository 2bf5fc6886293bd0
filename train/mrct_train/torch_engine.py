"""A network in PyTorch as the runtime's samplers see it, for looks at a training before its export."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mrct_runtime.arrays import Array, Denoiser, Time
from mrct_runtime.device import HOST, Device
from mrct_runtime.engines import Backend
from mrct_train.network import DirectNetwork


@dataclass(frozen=True, eq=False)
class TorchEngine:
    """A network in evaluation mode on the device of its weights; arrays are NumPy's on the host.

    A direct network is bound like any other and gives x_0(y) for every x and t, as in a bundle of its kind.
    """

    network: nn.Module
    max_batch: int = 64
    device: Device = HOST

    @property
    def backend(self) -> Backend:
        """PyTorch, where the weights are."""
        return Backend("torch", str(next(self.network.parameters()).device), "fp32")

    def bind(self, cond: Array) -> Denoiser:
        """eps(x, t), or x_0, for the condition [B, 1, H, W]."""
        place = next(self.network.parameters()).device
        y = torch.as_tensor(np.asarray(cond, np.float32), device=place)

        @torch.no_grad()
        def denoise(x: Array, t: Time) -> Array:
            if isinstance(self.network, DirectNetwork):
                out: Tensor = self.network(y)
            else:
                times = np.broadcast_to(np.asarray(t, np.float32), len(x)).copy()
                at = (
                    torch.as_tensor(np.asarray(each, np.float32), device=place)
                    for each in (x, times)
                )
                noisy, level = at
                out = self.network(noisy, y, level)
            answer: Array = out.float().cpu().numpy()
            return answer

        return denoise

    def close(self) -> None:
        """Nothing to give back: the network is the trainer's."""
