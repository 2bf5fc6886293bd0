"""Root without its right to read and write everything, so that permissions count in a test as for any user."""

import ctypes
import os
from contextlib import contextmanager

_VERSION_3 = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


@contextmanager
def permissions_count():
    """Inside, a file of mode 0 cannot be opened by this thread, nor by threads that it starts, even as root."""
    if os.geteuid():
        yield
        return
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    held = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice 32 bits
    _call("capget", header, held)
    fewer = (ctypes.c_uint32 * 6)(*held)
    fewer[0] &= ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH)
    _call("capset", header, fewer)
    try:
        yield
    finally:
        _call("capset", header, held)


def _call(name, header, data):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(header, data):
        raise OSError(ctypes.get_errno(), name)
