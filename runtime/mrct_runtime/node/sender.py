"""A result to its destination: every instance in one association, what was acknowledged is never sent again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mrct_runtime.dicom.header import silenced
from mrct_runtime.dicom.image_file import READ_FAULTS
from mrct_runtime.node.configuration import NodeConfig
from mrct_runtime.node.jobs import Job
from mrct_runtime.node.network import abort_all
from mrct_runtime.node.pipeline import Outcome
from mrct_runtime.node.tls import client_context

# Coercion of elements, elements discarded, data set does not match SOP class: it is stored all the same (PS3.4 B.2.3).
_STORED: Final = frozenset({0x0000, 0xB000, 0xB006, 0xB007})


@dataclass(frozen=True, eq=False)
class Sender:
    """Sends the DICOM files of a job's result, in any of its folders."""

    config: NodeConfig
    stopping: threading.Event
    _active: list[Any] = field(default_factory=list)

    def cut(self) -> None:
        """Ends the association that there may be; for a node that stops."""
        abort_all(self._active)

    def __call__(self, job: Job) -> Outcome:
        """Done when the destination has all that it may not refuse."""
        sent = job.sent()
        files = {name: path for name, path in _files(job.result) if name not in sent}
        if not files:
            return Outcome("done", f"{len(sent)} instances")
        try:
            classes = {name: _class_of(path) for name, path in files.items()}
        except READ_FAULTS:
            return Outcome("refused", "a file of the result cannot be read")
        with self._association(sorted(set(classes.values()))) as association:
            if not association.is_established:
                return Outcome("retry", "no association with the destination")
            taken = {str(c.abstract_syntax) for c in association.accepted_contexts}
            refused: list[str] = []
            for name, path in files.items():
                if self.stopping.is_set():
                    return Outcome("stopped")
                if classes[name] not in taken:
                    refused.append(f"SOP class {classes[name]} not taken")
                    continue
                status = _store(association, path)
                if status in _STORED:
                    job.note_sent(name)
                elif status is None:
                    return Outcome("retry", "the destination ended the association")
                else:
                    refused.append(f"status {status:04X}")
        return self._judged(job, refused, classes)

    def _judged(self, job: Job, refused: list[str], classes: dict[str, str]) -> Outcome:
        sent = job.sent()
        missing = [name for name in classes if name not in sent]
        if all(classes[name] in self.config.destination.may_refuse for name in missing):
            return Outcome("done", f"{len(sent)} instances, {len(missing)} refused")
        return Outcome("retry", f"{len(missing)} instances refused, first: {refused[0]}")

    @contextmanager
    def _association(self, classes: list[str]) -> Iterator[Any]:
        from pynetdicom import AE

        limits, destination = self.config.limits, self.config.destination
        entity = AE(self.config.title)
        entity.acse_timeout = limits.association_s
        entity.connection_timeout = limits.association_s
        entity.dimse_timeout = limits.message_s
        entity.network_timeout = limits.network_s
        for class_uid in classes:
            # the destination takes one of the two; a file of the other is sent in it, with the same values
            entity.add_requested_context(
                class_uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
            )
        context = client_context(self.config.tls)
        association = entity.associate(
            destination.host,
            destination.port,
            ae_title=destination.title,
            tls_args=None if context is None else (context, destination.host),
        )
        self._active.append(association)
        try:
            yield association
        finally:
            self._active.remove(association)
            if association.is_established:
                association.release()


def _files(result: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(result.rglob("*.dcm")):
        yield path.relative_to(result).as_posix(), path


def _class_of(path: Path) -> str:
    with silenced():
        return str(
            dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True).SOPClassUID
        )


def _store(association: Any, path: Path) -> int | None:
    """The destination's status; None where the association is broken."""
    with silenced():
        try:
            answer = association.send_c_store(dcmread(path))
        except RuntimeError:  # the association ended before this instance
            return None
    return int(answer.Status) if "Status" in answer else None
