"""The GPU as a device: CuPy's arrays in one CUDA stream."""

from __future__ import annotations

from functools import cache


@cache
def gpus() -> tuple[str, ...]:
    """What the GPUs that CUDA can use are called; none without CuPy or a driver."""
    try:
        import cupy
    except ImportError:
        return ()
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        return ()
    names = (cupy.cuda.runtime.getDeviceProperties(index)["name"] for index in range(count))
    return tuple(name.decode() for name in names)


def why_not(gpu: int = 0) -> str | None:
    """Why this GPU cannot be used, in words; None where it can."""
    found = gpus()
    if gpu < len(found):
        return None
    if found:
        return f"there is no cuda:{gpu}, the last is cuda:{len(found) - 1} ({found[-1]})"
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed: pip install 'mrct[gpu]'"
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CUDA finds no GPU that it can use ({error})"
    return "CUDA finds no GPU"
