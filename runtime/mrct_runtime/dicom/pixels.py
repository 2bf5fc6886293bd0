"""The pixels of a stack, each file opened once and only the frames of the stack decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID

from mrct_runtime.dicom.decoder import Decoder, UndecodedError
from mrct_runtime.dicom.frames import frame_number
from mrct_runtime.dicom.gatekeeper import syntax_of
from mrct_runtime.dicom.grouping import SeriesGroup
from mrct_runtime.dicom.header import only_number, silenced, text
from mrct_runtime.dicom.image_file import READ_FAULTS
from mrct_runtime.dicom.syntaxes import SYNTAXES
from mrct_runtime.errors import InputRejectedError, SeriesError
from mrct_runtime.scratch import IN_MEMORY, Scratch, let_go, let_go_at_times


def pixels(
    group: SeriesGroup, order: Sequence[int], scratch: Scratch = IN_MEMORY
) -> NDArray[np.float32]:
    """float32 [S, H, W], the group's images in the given order, each rescaled by its own slope and intercept."""
    first = group.headers[0]
    array = scratch.empty((len(order), int(first.Rows), int(first.Columns)), np.float32)
    places = {index: place for place, index in enumerate(order)}
    read = 0
    with silenced(), Decoder() as decoder:
        for path, indices in _by_file(group).items():
            stored = _stored(group, path, indices, decoder)
            for index in indices:
                array[places[index]] = _rescaled(next(stored), group, index)
                read += 1
                let_go_at_times(read, array)
    let_go(array)
    return array


def _by_file(group: SeriesGroup) -> dict[Path, list[int]]:
    """The images of each file, frames in the file's order."""
    found: dict[Path, list[int]] = {}
    for index, path in enumerate(group.files):
        found.setdefault(path, []).append(index)
    for indices in found.values():
        indices.sort(key=lambda index: frame_number(group.headers[index]) or 0)
    return found


def _stored(
    group: SeriesGroup, path: Path, indices: Sequence[int], decoder: Decoder
) -> Iterator[NDArray[np.generic]]:
    """The stored pixels of some images of one file, as they stand in it."""
    # a classic image may be followed by more pixels than one image has: the first is it
    frames = [(frame_number(group.headers[index]) or 1) - 1 for index in indices]
    named, first = _named(group, indices[0]), group.headers[0]
    try:
        syntax = UID(syntax_of(path))
        if SYNTAXES[syntax].decoder == "native":
            yield from iter_pixels(path, indices=frames)
        elif get_decoder(syntax).is_available:
            yield from decoder.frames(path, frames, int(first.Rows), int(first.Columns))
        else:
            raise InputRejectedError(
                f"{named}: no decoder for its compression ({syntax.name}); pip install 'mrct[codecs]'"
            )
    except UndecodedError as error:
        raise SeriesError(
            f"{named}: its pixels cannot be read{error}; export the series again, uncompressed"
        ) from error
    except (RuntimeError, *READ_FAULTS) as error:
        raise SeriesError(f"{named}: its pixels cannot be read; export the series again") from error
    raise SeriesError(f"{named}: the file has fewer frames than its header says; export it again")


def _rescaled(stored: NDArray[np.generic], group: SeriesGroup, index: int) -> NDArray[np.float32]:
    """[H, W] in the scanner's units: Philips changes slope and intercept from slice to slice."""
    header = group.headers[index]
    if stored.shape != (header.Rows, header.Columns):
        raise SeriesError(
            f"{_named(group, index)}: {stored.shape} pixels where its header says {header.Rows} x {header.Columns}"
        )
    slope, intercept = _rescale(group, index)
    scaled = stored.astype(np.float32) * np.float32(slope)
    return np.asarray(scaled + np.float32(intercept), dtype=np.float32)


def _rescale(group: SeriesGroup, index: int) -> tuple[float, float]:
    """(slope, intercept) of an image, (1, 0) where it has none; taking damaged ones for none would be a wrong image."""
    header = group.headers[index]
    try:
        slope, intercept = (
            only_number(header, keyword) for keyword in ("RescaleSlope", "RescaleIntercept")
        )
    except ValueError as error:
        raise SeriesError(
            f"{_named(group, index)}: its {error}; export the series again"
        ) from error
    if slope == 0:
        raise SeriesError(f"{_named(group, index)}: its RescaleSlope is 0; export the series again")
    return 1.0 if slope is None else slope, intercept or 0.0


def _named(group: SeriesGroup, index: int) -> str:
    header: Dataset = group.headers[index]
    frame = frame_number(header)
    if frame is not None:
        return f"{group}, frame {frame}"
    return f"{group}, instance {text(header, 'InstanceNumber') or index + 1}"
