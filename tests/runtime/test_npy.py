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
