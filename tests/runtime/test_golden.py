from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from mrct_runtime.errors import BundleError
from mrct_runtime.golden import Golden

X = np.random.default_rng(0).standard_normal((3, 1, 4, 6)).astype(np.float32)
GOLDEN = Golden(x=X, y=X + 1, t=np.array([0.1, 0.5, 1.0], np.float32), eps=2 * X)


def archive(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **({"x": X, "y": X, "t": GOLDEN.t, "eps": X} | arrays))
    return buffer.getvalue()


def test_values_come_back_as_they_were_and_bytes_are_reproducible() -> None:
    content = GOLDEN.dumps()
    again = Golden.loads(content)
    for name in ("x", "y", "t", "eps"):
        np.testing.assert_array_equal(getattr(again, name), getattr(GOLDEN, name))
    assert again.dumps() == content


def test_deviation_is_the_worst_samples_relative_rms() -> None:
    eps = GOLDEN.eps.copy()
    eps[1] *= 1.03
    assert GOLDEN.deviation(eps) == pytest.approx(0.03, rel=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_deviation_of_what_is_not_finite_is_infinite(bad: float) -> None:
    eps = GOLDEN.eps.copy()
    eps[2, 0, 0, 0] = bad
    assert GOLDEN.deviation(eps) == np.inf


def test_an_expected_output_of_zeros_proves_nothing() -> None:
    silent = Golden(X, X, GOLDEN.t, 0 * X)
    assert silent.deviation(0 * X) == np.inf


def lying_about_its_shape() -> bytes:
    """An array that claims a petabyte; its header is read before memory is taken."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 48,)}
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in ("x", "y", "t", "eps"):
            file.writestr(f"{name}.npy", header.getvalue())
    return buffer.getvalue()


def inflating() -> bytes:
    """65 MB of zeros in some kilobytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("x", "y", "t", "eps"):
            file.writestr(f"{name}.npy", bytes(65 << 20 if name == "x" else 8))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a plain archive"),
        (b"PK\x05\x06 and nothing more", "not a plain archive"),
        (GOLDEN.dumps()[:-40], "not a plain archive"),
        (archive(x=np.array([[{"a": 1}]], dtype=object)), "not a plain archive"),
        (archive(x=X.astype(np.float64)), "not a plain archive"),
        (archive(z=X), "x, y, t and eps are needed"),
        (archive(y=X[:, :, :2]), "differ in shape"),
        (archive(t=GOLDEN.t[:2]), "not one value a sample"),
        (lying_about_its_shape(), "not a plain archive"),
        (inflating(), "not a plain archive"),
    ],
)
def test_anything_but_four_plain_arrays_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(BundleError, match=reason):
        Golden.loads(content)
