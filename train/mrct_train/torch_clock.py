"""PyTorch's side of measurements: events in its CUDA stream, and what it takes of a GPU."""

from __future__ import annotations

from typing import Any

import torch

from mrct_runtime.bench.clock import Clock, HostClock


class TorchClock:
    """Events in PyTorch's current stream."""

    @staticmethod
    def mark() -> Any:
        """An event in the stream."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    @staticmethod
    def finish() -> None:
        """Wait for the GPU."""
        torch.cuda.synchronize()

    @staticmethod
    def between(first: Any, second: Any) -> float:
        """Seconds that the device took from one event to another."""
        milliseconds: float = first.elapsed_time(second)
        return milliseconds / 1e3


def clock_of(device: torch.device) -> Clock:
    """Events on a GPU, the host's clock elsewhere."""
    return TorchClock() if device.type == "cuda" else HostClock()


def taken(device: torch.device) -> int | None:
    """Bytes that are taken on the GPU, by all processes together; None on the host."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    return int(total - free)


def opened(asked: dict[str, Any]) -> torch.device:
    """The device that is asked for, with so many threads; torch's own error where it is not there."""
    torch.set_num_threads(asked["threads"])
    device = torch.device(asked["device"])
    if device.type == "cuda":
        torch.cuda.set_device(device.index or 0)
        device = torch.device("cuda", device.index or 0)
    tf32 = asked["precision"] == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    return device
