import io

import numpy as np
import pytest

from mrct_runtime import npy

VALUES = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)


def saved(array, **options):
    content = io.BytesIO()
    np.save(content, array, **options)
    return content.getvalue()


@pytest.mark.parametrize("kind", ["<f4", "<f8", "|b1", "<i8", "<u2"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(60,), (3, 4, 5), (0, 4), ()])
def test_what_numpy_has_saved_comes_back(kind, shape, order, tmp_path):
    values = np.asarray(np.resize(VALUES * 100, shape), kind, order=order)
    (tmp_path / "a.npy").write_bytes(saved(values))
    for found in (npy.array(saved(values)), npy.mapped(tmp_path / "a.npy")):
        assert found.dtype == values.dtype
        assert np.array_equal(found, values)
        assert found.shape == values.shape


def with_header(text):
    header = text.encode().ljust(118 - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + VALUES.tobytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        saved(VALUES)[:5],
        saved(VALUES)[:100],
        saved(VALUES)[:-1],
        saved(VALUES) + b"\0",
        saved(np.array([{}], object), allow_pickle=True),
        saved(np.zeros(3, [("a", "<f4")])),
        b"\x93NUMPY\x02\x00" + saved(VALUES)[8:],
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1 << 2, 15), }"),
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-60,), }"),
        with_header("{'descr': '<f9', 'fortran_order': False, 'shape': (60,), }"),
        with_header("{'descr': '|O8', 'fortran_order': False, 'shape': (30,), }"),
        with_header("(" * 60),
        with_header("'''"),
    ],
)
def test_anything_else_is_a_wrong_value(content, tmp_path):
    with pytest.raises(ValueError, match=r"not|empty"):
        npy.array(content)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"not|empty"):
        npy.mapped(tmp_path / "a.npy")


def test_an_array_is_not_written_to(tmp_path):
    (tmp_path / "a.npy").write_bytes(saved(VALUES))
    assert not npy.mapped(tmp_path / "a.npy").flags.writeable


def test_an_array_of_another_length_than_its_header_says_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((3, 4), np.float32))
    whole = path.read_bytes()
    shapes = ["(3, 40)", "(1<<62, 1<<62)".replace("1<<62", str(1 << 62)), "(-3, -4)", "(3, 3)"]
    for shape in shapes:
        changed = whole.replace(b"(3, 4)", shape.encode())
        # the header stays as long as it was
        changed = changed.replace(b" " * (len(shape) - 6) + b"\n", b"\n", 1)
        path.write_bytes(changed)
        assert len(changed) == len(whole)
        if shape == "(-3, -4)":
            with pytest.raises(ValueError, match="plain numbers"):
                npy.mapped(path)
        else:
            with pytest.raises(ValueError, match="plain numbers"):
                npy.mapped(path)
    for content in (whole[:-1], whole + b"\0", b"", whole[:20], b"PK\3\4" + whole):
        path.write_bytes(content)
        with pytest.raises(ValueError):
            npy.mapped(path)


def test_objects_are_refused_before_they_are_made(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, None], object), allow_pickle=True)
    with pytest.raises(ValueError, match="plain numbers"):
        npy.mapped(tmp_path / "a.npy")


def test_arrays_saved_one_after_another_come_back_in_their_order(tmp_path):
    arrays = [VALUES, np.array(1.25), np.zeros((0, 3)), VALUES[0] > 0]
    (tmp_path / "a.npy").write_bytes(b"".join(saved(values) for values in arrays))
    found = npy.each_mapped(tmp_path / "a.npy")
    assert len(found) == len(arrays)
    for ours, theirs in zip(found, arrays, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
    with pytest.raises(ValueError, match="not an array"):
        npy.mapped(tmp_path / "a.npy")
