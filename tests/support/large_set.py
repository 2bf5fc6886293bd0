"""A child process that prepares and draws a data set of N slices of 512 x 512 with little memory, and says how much.

python large_set.py FOLDER SLICES MEGABYTES
"""

import resource
import sys
from pathlib import Path

import numpy as np
import torch
from dicom_study import make_grid

from mrct_runtime.paired import Pair, Subject
from mrct_runtime.volume import Volume
from mrct_train import data
from mrct_train.augment import Chances, change
from mrct_train.config import Augmentation, validated
from mrct_train.loss import generator

SIZE, A_SUBJECT = 512, 84
MEGABYTE = 1 << 20


def private_bytes():
    """Memory that belongs to this process alone; pages of mapped files are the system's to take back."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.split("VmData:")[1].split()[0])


def read(slices):
    """A pair of a head on the model's own grid, every slice of another brightness."""
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j].astype(np.float32)
    body = (x / 0.7) ** 2 + (y / 0.8) ** 2 < 1
    mr = np.empty((slices, SIZE, SIZE), np.float32)
    for s in range(slices):
        mr[s] = body * (300 + 200 * x + s)
    hu = np.where(mr > 0, np.float32(40), np.float32(-1000))
    grid = make_grid(mr.shape, (2.5, 0.875, 0.875))
    return (Pair(Volume(mr, grid), Volume(hu, grid)),)


def main(folder, slices, megabytes):
    counts = [min(A_SUBJECT, slices - first) for first in range(0, slices, A_SUBJECT)]
    subjects = [Subject(f"{s:03d}", (), lambda n=count: read(n)) for s, count in enumerate(counts)]
    data.find_subjects = lambda *_: subjects
    data._key = lambda subject, _: subject.name
    recipe = validated({"size": SIZE, "spacing_mm": 0.875}, "test")
    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    limit = private_bytes() + megabytes * MEGABYTE
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    pairs = data.load_pairs(folder, recipe, folder / "cache", lambda line: None)
    summary = pairs.summary(range(len(pairs.subjects)))
    order = data.Order(pairs.of(range(len(pairs.subjects))), 2, seed=0)
    kind = Augmentation(mirror=True, rotation_degrees=5.0, shift_mm=5.0, intensity=0.1)
    for step in range(10):
        x0, y = (torch.from_numpy(part) for part in pairs.batch(order.indices(step)))
        x0, y = change((x0, y), kind, 0.875, Chances.draw(len(y), generator(step)))
        (network(y) - x0).square().mean().backward()
    stored = sum(array.nbytes for subject in pairs.subjects for array in subject.slices)
    sys.stdout.write(f"{summary.slices} {stored // MEGABYTE}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
