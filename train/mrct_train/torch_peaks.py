"""What PyTorch's libraries can do at best: a matrix product, and the 3 x 3 convolution that networks consist of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from mrct_runtime.bench.stand import Stand
from mrct_train.torch_clock import clock_of, opened, taken

CHANNELS: Final = 256
_SIDE: Final = {"cpu": 64, "cuda": 256}
_IMAGES: Final = {"cpu": 1, "cuda": 8}
_ORDER: Final = {"cpu": 2048, "cuda": 8192}


class Peak:
    """One operation that is repeated, whatever the batch."""

    def __init__(
        self,
        asked: dict[str, Any],
        device: torch.device,
        make: Callable[[torch.device, torch.dtype], tuple[Callable[[], Tensor], int]],
    ) -> None:
        self._device = device
        self.clock = clock_of(device)
        dtype = torch.float16 if asked["precision"] == "fp16" else torch.float32
        self._work, flop = make(device, dtype)
        self.facts = {"device": str(device), "precision": asked["precision"], "flop": flop}

    def case(self, batch: int) -> Callable[[], object]:
        """The operation once."""
        del batch

        @torch.inference_mode()
        def work() -> object:
            return self._work()

        return work

    def device_memory(self) -> int | None:
        """Bytes that are taken on its GPU."""
        return taken(self._device)


def convolution(device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], Tensor], int]:
    """256 channels to 256, channels_last, and its operations."""
    side, images = _SIDE[device.type], _IMAGES[device.type]
    layer = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)
    layer = layer.to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.rand(images, CHANNELS, side, side).to(
        device, dtype, memory_format=torch.channels_last
    )
    return lambda: layer(image), images * 2 * 9 * CHANNELS**2 * side**2


def matrix_product(device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], Tensor], int]:
    """Square matrices, and the operations of their product."""
    order = _ORDER[device.type]
    a, b = (torch.rand(order, order).to(device, dtype) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out), 2 * order**3


def convolution_stand(asked: dict[str, Any]) -> Stand:
    """The stand of the convolution, on the device and at the precision that are asked for."""
    return Stand(lambda: Peak(asked, opened(asked), convolution))


def product_stand(asked: dict[str, Any]) -> Stand:
    """The stand of the matrix product, on the device and at the precision that are asked for."""
    return Stand(lambda: Peak(asked, opened(asked), matrix_product))
