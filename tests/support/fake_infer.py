"""A program that takes the place of mrct-infer: it writes three small instances with new UIDs, or fails as it is told."""

import os
import signal
import sys
import time
from pathlib import Path

from pydicom import Dataset, FileMetaDataset, dcmread, dcmwrite
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ParametricMapStorage,
    generate_uid,
)

from mrct_runtime.output_folder import OutputFolder

FILES = ("sct/CT.0001.dcm", "sct/CT.0002.dcm", "std.dcm")


def main():
    study, out, *options = sys.argv[1:]
    chosen = dict(option.removeprefix("--").split("=") for option in options if "=" in option)
    if "count" in chosen:
        with Path(chosen["count"]).open("a") as file:
            file.write("translation\n")
    time.sleep(float(chosen.get("sleep", 0)))
    if "exit" in chosen:
        sys.stderr.write("mrct: error: refused on purpose\n")
        sys.exit(int(chosen["exit"]))
    if "signal" in chosen:
        os.kill(os.getpid(), signal.Signals(int(chosen["signal"])))
    source = dcmread(next(Path(study).iterdir()))
    with OutputFolder.claim(Path(out)) as folder:
        (folder.partial / "sct").mkdir()
        series = generate_uid()
        for name in FILES:
            kind = CTImageStorage if "CT" in name else ParametricMapStorage
            write_instance(folder.partial / name, source, kind, series)
        folder.commit()


def write_instance(path, source, kind, series):
    image = Dataset()
    image.SOPClassUID = kind
    image.SOPInstanceUID = generate_uid()
    image.SeriesInstanceUID = series if kind == CTImageStorage else generate_uid()
    image.StudyInstanceUID = source.StudyInstanceUID
    image.PatientID = source.PatientID
    image.Modality = "CT" if kind == CTImageStorage else "OT"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, image, enforce_file_format=True)
