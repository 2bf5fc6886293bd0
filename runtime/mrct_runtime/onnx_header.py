"""What an ONNX file says about itself, read from its bytes without any ONNX library.

A session must not exist before the file is known to be harmless and to have the expected inputs and outputs, and
the runtime does not depend on onnx. Only the few fields needed are decoded (field numbers: onnx.proto3 of ONNX
IR version 10; wire format: protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from mrct_runtime.errors import BundleError

_FLOAT: Final = 1
_FLOAT_BYTES: Final = {_FLOAT: 4, 10: 2, 16: 2}  # float32, float16, bfloat16
_STANDARD_DOMAINS: Final = frozenset({"", "ai.onnx"})
_RANDOM: Final = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
    | {"Bernoulli", "Multinomial"}
)

_Field: TypeAlias = "tuple[int, int | memoryview]"


@dataclass(frozen=True)
class Signature:
    """An input or output: its name, whether it is float32, and its shape, dynamic dimensions as their names."""

    name: str
    is_float32: bool
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class OnnxHeader:
    """The parts of an ONNX file that are checked before an engine sees it."""

    opset: int
    inputs: tuple[Signature, ...]
    outputs: tuple[Signature, ...]
    metadata: dict[str, str]


def read_header(model: bytes) -> OnnxHeader:
    """The header of `model`, or a BundleError.

    Refused: weights outside the file (a path that the engine would open), operators outside the ONNX standard,
    loops, branches and local functions, and random operators, whose draws no seed of mrct controls.
    """
    try:
        return _read(memoryview(model))
    except (IndexError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise BundleError("model.onnx is not an ONNX file: its fields cannot be decoded") from error


class Weights(NamedTuple):
    """Bytes of a file's floating-point weights, as they are and as they would be in float32."""

    stored: int
    as_float32: int


def weights(model: bytes) -> Weights:
    """Those of `model`, or a BundleError."""
    try:
        found = [
            _weight(_message(value))
            for number, graph in _fields(memoryview(model))
            if number == 7
            for inner, value in _fields(_message(graph))
            if inner == 5
        ]
    except (IndexError, ValueError, TypeError) as error:
        raise BundleError("model.onnx is not an ONNX file: its fields cannot be decoded") from error
    return Weights(sum(size * each for size, each in found), sum(4 * size for size, _ in found))


def _weight(tensor: memoryview) -> tuple[int, int]:
    """(elements, bytes of each) of a weight; none of one that is no floating-point number."""
    dims: list[int] = []
    kind = 0
    for number, value in _fields(tensor):
        if number == 1:
            dims += [value] if isinstance(value, int) else _packed(value)
        elif number == 2 and isinstance(value, int):
            kind = value
    return (math.prod(dims), _FLOAT_BYTES[kind]) if kind in _FLOAT_BYTES else (0, 0)


def _packed(values: memoryview) -> Iterator[int]:
    at = 0
    while at < len(values):
        value, at = _varint(values, at)
        yield value


def _read(model: memoryview) -> OnnxHeader:
    opsets: dict[str, int] = {}
    metadata: dict[str, str] = {}
    graphs: list[memoryview] = []
    for number, value in _fields(model):
        match number:
            case 7:
                graphs.append(_message(value))
            case 8:
                domain, version = _pair(value)
                opsets[str(domain or "")] = int(version or 0)
            case 14:
                key, text = _pair(value)
                metadata[str(key)] = str(text)
            case 20 | 25:
                raise BundleError("model.onnx holds local functions or training steps; refused")
    if foreign := set(opsets) - _STANDARD_DOMAINS:
        raise BundleError(f"model.onnx needs operators of {min(foreign)!r}; refused")
    if len(graphs) != 1:  # parsers merge repeated ones, so checking one of them proves nothing
        raise BundleError(f"model.onnx holds {len(graphs)} graphs; one is needed")
    graph = graphs[0]
    _refuse_unsafe(graph)
    return OnnxHeader(
        opset=opsets.get("", opsets.get("ai.onnx", 0)),
        inputs=tuple(_signature(_message(v)) for n, v in _fields(graph) if n == 11),
        outputs=tuple(_signature(_message(v)) for n, v in _fields(graph) if n == 12),
        metadata=metadata,
    )


def _refuse_unsafe(graph: memoryview) -> None:
    for number, value in _fields(graph):
        match number:
            case 1:
                _refuse_unsafe_node(_message(value))
            case 5:
                _refuse_external(_message(value))
            case 15:
                raise BundleError("model.onnx holds sparse weights; refused")


def _refuse_unsafe_node(node: memoryview) -> None:
    for number, value in _fields(node):
        match number:
            case 4 if (kind := _text(value)) in _RANDOM:
                raise BundleError(f"model.onnx holds the random operator {kind}; refused")
            case 5:
                for inner, content in _fields(_message(value)):
                    match inner:
                        case 5 | 10:
                            _refuse_external(_message(content))
                        case 6 | 11:
                            raise BundleError("model.onnx holds a loop or a branch; refused")
                        case 22 | 23:
                            raise BundleError("model.onnx holds sparse weights; refused")


def _refuse_external(tensor: memoryview) -> None:
    for number, value in _fields(tensor):
        if number == 13 or (number == 14 and value != 0):
            raise BundleError("model.onnx keeps weights in another file; refused, one file only")


def _signature(value_info: memoryview) -> Signature:
    name, shape, elem_type = "", memoryview(b""), 0
    for number, value in _fields(value_info):
        if number == 1:
            name = _text(value)
        elif number == 2:
            for kind, tensor in _fields(_message(value)):
                if kind == 1:
                    content = dict(_fields(_message(tensor)))
                    elem_type = int(content.get(1, 0))
                    shape = _message(content.get(2, memoryview(b"")))
    dims = tuple(_dimension(_message(value)) for number, value in _fields(shape) if number == 1)
    return Signature(name, elem_type == _FLOAT, dims)


def _dimension(dim: memoryview) -> int | str:
    for number, value in _fields(dim):
        if number == 1 and isinstance(value, int):
            return value
        if number == 2:
            return _text(value)
    return "?"


def _pair(value: int | memoryview) -> tuple[str | int | None, str | int | None]:
    """Fields 1 and 2 of a message, texts and numbers as such."""
    content = {n: v if isinstance(v, int) else _text(v) for n, v in _fields(_message(value))}
    return content.get(1), content.get(2)


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise TypeError("a number where a message belongs")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_message(value)).decode()


def _fields(message: memoryview) -> Iterator[_Field]:
    """(field number, content) of each field: an int for a varint, the bytes for everything else."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        match key & 7:
            case 0:
                value, at = _varint(message, at)
                yield key >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(message, at)
            case 5:
                size = 4
            case other:
                raise ValueError(f"wire type {other}")
        if at + size > end:
            raise ValueError("a field reaches past its message")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
    raise ValueError("a number of more than ten bytes")
