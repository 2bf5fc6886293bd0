"""What a Ray actor is: a process that holds the engine and translates the studies that it is given."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mrct_runtime.arrays import Array, Time
from mrct_runtime.bundle import Bundle
from mrct_runtime.errors import BundleError, MrctError
from mrct_runtime.filling import Order, Watch
from mrct_runtime.job import Job
from mrct_runtime.many.outcome import Outcome
from mrct_runtime.many.studies import Study
from mrct_runtime.many.translator import Translator
from mrct_runtime.outputs import Outputs
from mrct_runtime.settings import Settings
from mrct_runtime.synthesis import Progress


@dataclass(frozen=True, eq=False)
class Task:
    """What every worker is told; the paths are those of a file system that all machines have in common."""

    bundle: Path
    bundle_sha256: str
    settings: Settings
    series: str | None
    command: tuple[str, ...]
    outputs: Outputs
    outs: Path
    overwrite: bool

    def translator(self) -> Translator:
        """Ready for its first study; BundleError where the bundle is another one here."""
        bundle = Bundle.load(self.bundle)
        if bundle.sha256 != self.bundle_sha256:
            raise BundleError(
                f"{self.bundle} is another bundle on a worker's machine; copy it there again"
            )
        order = Order(bundle, self.settings, self.series, self.command, self.outputs)
        return Translator(order, self.outs, lambda _: Silence(), overwrite=self.overwrite)


class RayWorker:
    """The actor; nothing is loaded before its first study."""

    def __init__(self, task: Task) -> None:
        # DICOM libraries quote patient data, which Ray would keep in its logs
        warnings.simplefilter("ignore")
        logging.getLogger().addHandler(logging.NullHandler())
        self._task = task
        self._translator: Translator | None = None

    def ready(self) -> None:
        """Returns when the process is there."""

    def translate(self, study: Study) -> Outcome | MrctError:
        """What became of the study; an error that would be the same for every other one."""
        try:
            if self._translator is None:
                self._translator = self._task.translator()
            return self._translator(study)
        except MrctError as error:
            return error


class Silence:
    """Tells nobody anything."""

    def planned(self, job: Job) -> None:
        pass

    def resumed(self, slices: int) -> None:
        pass

    @contextmanager
    def watching(self, job: Job) -> Iterator[Watch]:  # noqa: ARG002
        yield self

    def batch_finished(self, progress: Progress) -> None:
        pass

    def evaluated(self, x: Array, t: Time) -> None:
        pass
