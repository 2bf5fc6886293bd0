"""Reads files that are made to hurt, in a process of its own whose memory is limited and measured."""

import resource
import time
from pathlib import Path

from mrct_runtime.dicom import read_study
from mrct_runtime.errors import MrctError
from mrct_runtime.golden import Golden
from mrct_runtime.memory_limit import limit_memory
from mrct_runtime.metaimage import read_metaimage
from mrct_runtime.nifti import doubts, read_nifti
from mrct_runtime.paired import png
from mrct_runtime.source import read_source

READERS = {
    "nifti": read_nifti,
    "doubts": lambda path: list(doubts(path)),
    "metaimage": read_metaimage,
    "source": read_source,
    "golden": lambda path: Golden.loads(path.read_bytes(), "eps"),
    "png": lambda path: png._grey(path, "axial"),
    "study": read_study,
}


class Reading:
    """One reader after another."""

    def __init__(self, more_bytes):
        import nibabel
        import SimpleITK
        import skimage.io

        self.libraries = nibabel, SimpleITK, skimage.io
        self.before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert limit_memory(more_bytes)

    def read(self, reader, path):
        """[exit code, what was told, MiB that were taken at most until now, seconds]; code 0 where it was read."""
        began, code, told = time.monotonic(), 0, ""
        try:
            READERS[reader](Path(path))
        except MrctError as error:
            code, told = error.exit_code, str(error)
        taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.before
        return code, told, taken >> 10, time.monotonic() - began
