"""What is taken of a GPU's memory, for measurements."""

from __future__ import annotations


def taken(device: str) -> int | None:
    """Bytes that are taken on `device`, cuda:N, by all processes together; None on the host."""
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return None
    import cupy

    with cupy.cuda.Device(int(number or 0)):
        free, total = cupy.cuda.runtime.memGetInfo()
    return int(total - free)
