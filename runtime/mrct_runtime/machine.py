"""What a machine is: processor, memory, versions and GPUs, for reports that stand beside figures."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import mrct_runtime
from mrct_runtime.errors import EngineError

LIBRARIES: Final = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "cupy-cuda13x", "cupy-cuda12x", "cupy"),
    *("tensorrt", "tensorrt-cu13", "tensorrt-rtx", "torch", "onnx"),
)
"""What figures and backends depend on, as distributions are called."""

_INSTRUCTIONS: Final = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("avx_vnni", "amx_tile", "amx_bf16", "amx_fp16", "asimd", "asimdhp", "bf16", "sve", "i8mm"),
)
_DRIVER: Final = Path("/proc/driver/nvidia/version")
_HINT_SECONDS: Final = 10


@dataclass(frozen=True)
class Gpu:
    """A GPU that CUDA can use; memory in bytes."""

    name: str
    compute_capability: str
    memory: int
    free_memory: int


def machine() -> dict[str, Any]:
    """System, processor, its instruction sets that matter, cores of this process, and bytes of memory."""
    page = os.sysconf("SC_PAGE_SIZE")
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor(),
        "instructions": instructions(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PHYS_PAGES") * page,
        "free_memory": _available() or os.sysconf("SC_AVPHYS_PAGES") * page,
    }


def versions() -> dict[str, str]:
    """mrct's, Python's and those of the libraries that are installed."""
    found = {"mrct": mrct_runtime.__version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except (metadata.PackageNotFoundError, KeyError):  # absent, or half removed
            continue
    return found


def processor() -> str:
    """What the processor calls itself."""
    return next(_cpuinfo("model name"), "") or platform.processor() or platform.machine()


def instructions() -> tuple[str, ...]:
    """The instruction sets of the processor that speed a network up."""
    flags = set((next(_cpuinfo("flags"), "") or next(_cpuinfo("Features"), "")).split())
    return tuple(name for name in _INSTRUCTIONS if name in flags)


def cache_folder() -> Path:
    """Where what is made on this machine for this machine is kept; EngineError for a user without a home.

    $XDG_CACHE_HOME/mrct, else ~/.cache/mrct. A relative XDG_CACHE_HOME is none, as its specification says: what may be
    run must not depend on the folder that one happens to be in.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named / "mrct"
    try:
        return Path.home() / ".cache" / "mrct"
    except RuntimeError as error:
        raise EngineError(
            f"user {os.geteuid()} has no home folder for a cache: set XDG_CACHE_HOME to a folder of your own"
        ) from error


def free_disk(folder: Path) -> int:
    """Free bytes where the folder is, or would be: of the nearest parent that can be asked."""
    for path in (folder, *folder.absolute().parents):
        try:
            return shutil.disk_usage(path).free
        except OSError:  # not there, or not for this user to see
            continue
    return 0


def driver() -> str | None:
    """The version of NVIDIA's driver in words; None where none is loaded."""
    try:
        return " ".join(_DRIVER.read_text("utf-8").splitlines()[0].split())
    except (OSError, IndexError):
        return None


def gpu_hint() -> list[str]:
    """What nvidia-smi says about GPUs, for where CuPy cannot be asked; empty where there is none or it fails."""
    return _nvidia_smi("name,compute_cap,memory.total,driver_version")


def gpu_state() -> list[str]:
    """Clocks, power, temperature and what slows each GPU down at the moment, as nvidia-smi says; empty without it."""
    return _nvidia_smi(
        "clocks.sm,clocks.max.sm,clocks.mem,power.draw,power.limit,temperature.gpu,clocks_throttle_reasons.active"
    )


def _nvidia_smi(fields: str) -> list[str]:
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        told = subprocess.run(  # noqa: S603 - the command that PATH gives, without a shell
            [command, f"--query-gpu={fields}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_HINT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return told.stdout.strip().splitlines()


class Gpus:
    """CuPy's view of the GPUs, to be asked in a process of its own."""

    def __init__(self, _argument: object) -> None:
        pass

    @staticmethod
    def all() -> list[dict[str, Any]]:
        """Every GPU that CUDA can use."""
        import cupy

        runtime = cupy.cuda.runtime
        found = []
        for index in range(runtime.getDeviceCount()):
            told = runtime.getDeviceProperties(index)
            with cupy.cuda.Device(index):
                free, total = runtime.memGetInfo()
            capability = f"{told['major']}.{told['minor']}"
            found.append(asdict(Gpu(told["name"].decode(), capability, total, free)))
        return found


def _cpuinfo(key: str) -> Iterator[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == key:
            yield value.strip()


def _available() -> int | None:
    """Bytes that can be had without swapping, caches given up; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    except OSError:
        return None
    told = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(told[0]) * 1024 if told else None
