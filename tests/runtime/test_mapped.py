import numpy as np
import pytest

from mrct_runtime.mapped import mapped


@pytest.mark.parametrize("dtype", ["f4", "f2", "?", "i8"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (7,), (0, 4), ()])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_the_one_that_was_saved(tmp_path, dtype, shape, order):
    saved = np.asarray(np.random.default_rng(0).integers(0, 2, shape), dtype, order=order)
    np.save(tmp_path / "a.npy", saved)
    found = mapped(tmp_path / "a.npy")
    np.testing.assert_array_equal(found, saved)
    assert found.dtype == saved.dtype
    if saved.size:
        assert not found.flags.writeable


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
            with pytest.raises(ValueError, match=r"negative|plain numbers"):
                mapped(path)
        else:
            with pytest.raises(ValueError, match="plain numbers"):
                mapped(path)
    for content in (whole[:-1], whole + b"\0", b"", whole[:20], b"PK\3\4" + whole):
        path.write_bytes(content)
        with pytest.raises(ValueError):
            mapped(path)


def test_objects_are_refused_before_they_are_made(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, None], object), allow_pickle=True)
    with pytest.raises(ValueError, match="plain numbers"):
        mapped(tmp_path / "a.npy")


def test_an_array_that_others_may_follow_is_the_first_of_its_file(tmp_path):
    path = tmp_path / "several.npy"
    with path.open("wb") as file:
        for array in (np.arange(6.0).reshape(2, 3), np.zeros(4)):
            np.save(file, array)
    np.testing.assert_array_equal(mapped(path, alone=False), np.arange(6.0).reshape(2, 3))
    with pytest.raises(ValueError, match="plain numbers"):
        mapped(path)
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(ValueError, match="plain numbers"):
        mapped(path, alone=False)
