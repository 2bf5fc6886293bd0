"""The GPU's noise: the very same source as C++ on the processor, through its compilers, and on a GPU."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mrct_runtime
from mrct_runtime import cuda_noise
from mrct_runtime.noise import host_normals, philox4x32, stream_key

SOURCE = Path(mrct_runtime.__file__).with_name("noise.cu")
SHIM = Path(__file__).parents[1] / "support" / "cuda_on_cpu.cpp"
LARGEST = 2**32 - 1
ROWS = [(0, 0), (0, 1), (7, 2), (LARGEST, 3), (5, LARGEST)]
KEYS = [(0, 0), (LARGEST, LARGEST), stream_key(3, "1.2.840")]
DRAWS = [0, 1, 999, LARGEST]
ARCHITECTURES = ["75", "80", "86", "89", "90", "120"]


def host_words(key, rows, blocks: int, draw: int) -> np.ndarray:
    counters = np.arange(blocks, dtype=np.uint64)
    words = [np.stack(philox4x32((counters, draw, k, s), key), axis=-1) for s, k in rows]
    return np.array(words).astype(np.uint32)


def ulps(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """How many float32 values lie between, of values of one sign."""
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
    steps = found.view(np.uint32).astype(np.int64) - expected.view(np.uint32).astype(np.int64)
    return abs(steps)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> ctypes.CDLL:
    if (compiler := shutil.which("g++")) is None:
        pytest.skip("there is no g++")
    built = tmp_path_factory.mktemp("noise") / "noise.so"
    flags = ["-O2", "-shared", "-fPIC", "-std=c++17", "-Wall", "-Wextra", "-Werror"]
    flags += ["-Wno-unknown-pragmas", f'-DSOURCE="{SOURCE}"']
    subprocess.run([compiler, *flags, SHIM, "-o", built], check=True)
    return ctypes.CDLL(str(built))


@pytest.fixture
def on_the_processor(monkeypatch, library):
    """The launches of cuda_noise, with NumPy for CuPy and the compiled source for the GPU."""

    def kernel(name: str) -> Callable[..., None]:
        run = getattr(library, name.replace("mrct_", "run_"))

        def launched(grid, block, arguments) -> None:
            plain = [
                ctypes.c_void_p(value.ctypes.data)
                if isinstance(value, np.ndarray)
                else ctypes.c_uint(int(value))
                for value in arguments
            ]
            run(*map(ctypes.c_uint, (*grid, *block)), *plain)

        return launched

    def empty(shape, dtype) -> np.ndarray:
        return np.full(shape, 7, dtype)

    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(asarray=np.asarray, empty=empty))
    monkeypatch.setattr(cuda_noise, "kernel", kernel)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("draw", DRAWS)
def test_the_words_of_the_source_are_numpys_bit_for_bit(on_the_processor, key, draw) -> None:
    found = cuda_noise.gpu_words(key, ROWS, 1000, draw)
    np.testing.assert_array_equal(found, host_words(key, ROWS, 1000, draw))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5, 511, 512, 513, 99 * 101, 256 * 256])
def test_the_normals_of_the_source_are_numpys_to_2_ulp(on_the_processor, key, pixels) -> None:
    draw_there, draw_here = (f(key, ROWS, pixels) for f in (cuda_noise.gpu_normals, host_normals))
    for draw in DRAWS:
        found, expected = draw_there(draw), draw_here(draw)
        assert found.shape == expected.shape == (len(ROWS), pixels)
        assert ulps(found, expected).max() <= 2


def test_a_large_image_of_normals_differs_in_rounding_at_most(on_the_processor) -> None:
    key, rows = stream_key(0, "large"), [(3, 9)]
    found = cuda_noise.gpu_normals(key, rows, 1024 * 1023)(5)
    distance = ulps(found, host_normals(key, rows, 1024 * 1023)(5))
    assert distance.max() <= 1
    assert (distance == 0).mean() > 0.9999


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_source_compiles_and_keeps_everything_in_registers(architecture, tmp_path) -> None:
    if (nvcc := shutil.which("nvcc")) is None:
        pytest.skip("there is no nvcc")
    listed = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True)
    if f"sm_{architecture}" not in listed.stdout.split():
        pytest.skip(f"this nvcc does not know sm_{architecture}")
    command = [nvcc, f"-arch=sm_{architecture}", "-Xptxas", "-v", "-Werror", "all-warnings"]
    told = subprocess.run(
        [*command, "-cubin", "-o", tmp_path / "noise.cubin", SOURCE],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+)", told)
    assert frames == [("0", "0", "0")] * 2
    registers = [int(number) for number in re.findall(r"Used (\d+) registers", told)]
    assert max(registers) <= 64


@pytest.mark.gpu
@pytest.mark.parametrize("key", KEYS)
def test_a_gpus_words_are_numpys_bit_for_bit(cuda, key) -> None:
    for draw in DRAWS:
        with cuda.running():
            found = cuda.to_host(cuda_noise.gpu_words(key, ROWS, 1000, draw))
        np.testing.assert_array_equal(found, host_words(key, ROWS, 1000, draw))


@pytest.mark.gpu
@pytest.mark.parametrize("pixels", [1, 3, 4, 513, 99 * 101, 512 * 512])
def test_a_gpus_normals_are_numpys_to_2_ulp(cuda, pixels) -> None:
    key = stream_key(1, "gpu")
    with cuda.running():
        draw_there = cuda.normals(key, ROWS, pixels)
        for draw in DRAWS:
            found = cuda.to_host(draw_there(draw))
            assert ulps(found, host_normals(key, ROWS, pixels)(draw)).max() <= 2
