"""What stands in for a decoder that a file has broken; it runs in the process that decoders run in."""

import ctypes
import os
import signal
import time

import numpy as np

from mrct_runtime.dicom.decoding import Decoding


class Greedy(Decoding):
    """Takes 16 GiB as NumPy does."""

    def decoded(self, path, frames):
        yield np.ones(16 << 30, np.uint8)


class GreedyInC(Decoding):
    """Takes memory in pieces, behind the interpreter's back, and writes into what it has got."""

    def decoded(self, path, frames):
        library = ctypes.CDLL(None)
        library.malloc.restype = ctypes.c_void_p
        library.malloc.argtypes = [ctypes.c_size_t]
        for _ in range(1024):
            piece = library.malloc(16 << 20)
            ctypes.memset(piece, 1, 16 << 20)
        yield np.zeros((8, 10), np.uint16)


class Crashing(Decoding):
    def decoded(self, path, frames):
        ctypes.string_at(0)
        yield np.zeros((8, 10), np.uint16)


class Aborting(Decoding):
    def decoded(self, path, frames):
        os.kill(os.getpid(), signal.SIGABRT)
        yield np.zeros((8, 10), np.uint16)


class Hanging(Decoding):
    def decoded(self, path, frames):
        time.sleep(600)
        yield np.zeros((8, 10), np.uint16)


class OfAnotherSize(Decoding):
    def decoded(self, path, frames):
        yield np.zeros((10, 8), np.uint16)


class Endless(Decoding):
    def decoded(self, path, frames):
        yield np.zeros((8000, 1000), np.uint16)


class OfObjects(Decoding):
    def decoded(self, path, frames):
        yield np.zeros((8, 10), "V2")


class Talkative(Decoding):
    """Fails as a library does that quotes what it met."""

    def decoded(self, path, frames):
        os.write(2, b"warning: CANARY^PATIENT\n")
        raise ValueError("CANARY^PATIENT")


class ShowingItsEnvironment(Decoding):
    def decoded(self, path, frames):
        assert "SECRET" not in "".join(os.environ)
        return super().decoded(path, frames)
