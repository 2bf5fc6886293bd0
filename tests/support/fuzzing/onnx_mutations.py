"""Mutations of ONNX graphs that protobuf still reads, and of the headers of other binary files."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from random import Random

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper

from fuzzing.byte_mutations import BYTES, Mutation
from fuzzing.json_mutations import JSON

_OPERATORS = (
    *(
        "Add",
        "Mul",
        "Gather",
        "Reshape",
        "Expand",
        "Tile",
        "ConstantOfShape",
        "Range",
        "Pad",
        "Resize",
    ),
    *(
        "Conv",
        "MatMul",
        "Loop",
        "If",
        "Scan",
        "RandomNormal",
        "Unknown",
        "Cast",
        "Shape",
        "NonZero",
    ),
)
_DIMENSIONS = (0, -1, 1, 2, 3, 1000, 1 << 20, 1 << 31, (1 << 63) - 1)


def with_another_node(content: bytes, chance: Random) -> bytes:
    """A node of another operator, with other edges, gone, or there twice."""

    def change(model: onnx.ModelProto) -> None:
        nodes = model.graph.node
        node = chance.choice(nodes)
        match chance.randrange(5):
            case 0:
                node.op_type = chance.choice(_OPERATORS)
            case 1 if node.input:
                names = [name for each in nodes for name in each.output] + ["x", "y", "t", ""]
                node.input[chance.randrange(len(node.input))] = chance.choice(names)
            case 2:
                nodes.remove(node)
            case 3:
                nodes.append(node)
            case _:
                node.domain = chance.choice(("ai.onnx", "com.microsoft", "x"))

    return _edited(content, change)


def with_another_weight(content: bytes, chance: Random) -> bytes:
    """A constant of another shape, type, length or value, or none."""

    def change(model: onnx.ModelProto) -> None:
        constants = model.graph.initializer
        constant = chance.choice(constants)
        match chance.randrange(6):
            case 0:
                constant.dims.append(chance.choice(_DIMENSIONS))
            case 1:
                constant.data_type = chance.choice((0, 1, 2, 6, 7, 8, 9, 10, 11, 16, 99))
            case 2:
                constant.raw_data = chance.choice(BYTES)(constant.raw_data, chance)
            case 3:
                constants.remove(constant)
            case 4:
                constant.data_location = TensorProto.EXTERNAL
                constant.external_data.add(
                    key="location", value=chance.choice(("/etc/passwd", "a"))
                )
            case _:
                constant.raw_data = struct.pack("<f", chance.choice((float("nan"), 1e38, -1.0)))

    return _edited(content, change)


def with_another_signature(content: bytes, chance: Random) -> bytes:
    """An input or output of another name, type or shape, one more or one less."""

    def change(model: onnx.ModelProto) -> None:
        tensors = chance.choice((model.graph.input, model.graph.output))
        tensor = chance.choice(tensors)
        kind = tensor.type.tensor_type
        match chance.randrange(5):
            case 0:
                tensor.name = chance.choice(("", "x", "z", "\0"))
            case 1:
                kind.elem_type = chance.choice((0, 7, 10, 99))
            case 2 if kind.shape.dim:
                chance.choice(kind.shape.dim).dim_value = chance.choice(_DIMENSIONS)
            case 3:
                tensors.remove(tensor)
            case _:
                tensors.append(tensor)

    return _edited(content, change)


def with_an_attribute(content: bytes, chance: Random) -> bytes:
    """A node has an attribute that it should not have: a graph, a tensor, a number, a long list."""
    kinds = (
        helper.make_attribute("axis", chance.choice(_DIMENSIONS)),
        helper.make_attribute("to", 1 << 40),
        helper.make_attribute("perm", [9] * 1000),
        helper.make_attribute("mode", "\x00"),
        AttributeProto(name="body", type=AttributeProto.GRAPH, g=onnx.GraphProto()),
        AttributeProto(name="ref", ref_attr_name="x", type=AttributeProto.INT),
    )

    def change(model: onnx.ModelProto) -> None:
        chance.choice(model.graph.node).attribute.append(chance.choice(kinds))

    return _edited(content, change)


def of_another_version(content: bytes, chance: Random) -> bytes:
    """Another opset, IR version, metadata, or local functions."""

    def change(model: onnx.ModelProto) -> None:
        match chance.randrange(4):
            case 0:
                model.opset_import[0].version = chance.choice((0, 1, 17, 19, 999, -1))
            case 1:
                model.ir_version = chance.choice((0, 3, 99, -1))
            case 2:
                model.metadata_props.add(key=chance.choice(("mrct.manifest", "")), value="{}")
            case _:
                model.functions.add(name="f", domain="x")

    return _edited(content, change)


def _edited(content: bytes, change: object) -> bytes:
    try:
        model = onnx.ModelProto.FromString(content)
        change(model)  # type: ignore[operator]
        return model.SerializeToString()
    except Exception:  # noqa: BLE001 - an earlier mutation of these bytes may have left anything
        return content


ONNX: tuple[Mutation, ...] = (
    *(with_another_node, with_another_weight, with_another_weight, with_another_signature),
    *(with_an_attribute, of_another_version),
)


def with_another_header(content: bytes, chance: Random) -> bytes:
    """safetensors with another header: offsets, shapes, types, names, or a length that is not its own."""
    if len(content) < 8:
        return content
    (length,) = struct.unpack("<Q", content[:8])
    header, data = content[8 : 8 + length], content[8 + length :]
    found = chance.choice(JSON)(header, chance)
    said = len(found) if chance.random() < 0.8 else chance.choice((0, 1 << 40, (1 << 64) - 1, 7))
    return struct.pack("<Q", said) + found + data


def with_overlapping_tensors(content: bytes, chance: Random) -> bytes:
    """safetensors of which two tensors are said to lie at the same place, or one past the end."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        names = [name for name in header if name != "__metadata__"]
        one, other = chance.choice(names), chance.choice(names)
        header[one]["data_offsets"] = chance.choice(
            (header[other]["data_offsets"], [0, 1 << 50], [-4, 4], [8, 4])
        )
    except (struct.error, ValueError, KeyError, IndexError, TypeError, RecursionError):
        return content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


SAFETENSORS: tuple[Mutation, ...] = (with_another_header, with_overlapping_tensors)


def with_another_array(content: bytes, chance: Random) -> bytes:
    """An npz archive in which one array is damaged, replaced, compressed, missing, or there twice."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        name = chance.choice(sorted(entries))
    except Exception:  # noqa: BLE001 - an earlier mutation of these bytes may have left anything
        return content
    written = io.BytesIO()
    packing = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(written, "w", packing) as archive:
        for each, data in entries.items():
            if each != name:
                archive.writestr(each, data)
            elif chance.random() < 0.9:
                archive.writestr(each, _array(data, chance))
    return written.getvalue()


def _array(data: bytes, chance: Random) -> bytes:
    match chance.randrange(4):
        case 0:
            return chance.choice(BYTES)(data, chance)
        case 1:
            return chance.choice(BYTES)(data[:128], chance) + data[128:]
        case 2:
            # a hundred megabytes of zeros, which take a hundred kilobytes
            return data[:128] + bytes(100_000_000)
        case _:
            held = io.BytesIO()
            shape = chance.choice(((0,), (2, 0, 1), (1, 1, 4, 4), ()))
            kind = chance.choice(("<f4", "<f8", ">f4", "<i8", "S5"))
            np.save(held, np.zeros(shape, kind))
            return held.getvalue()


NPZ: tuple[Mutation, ...] = (with_another_array,)
