from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.errors import BundleError
from mrct_runtime.golden import Golden
from mrct_runtime.process import Direct

X = np.random.default_rng(0).standard_normal((3, 1, 4, 6)).astype(np.float32)
T = np.array([0.1, 0.5, 1.0], np.float32)
GOLDEN = Golden("eps", {"x": X, "y": X + 1, "t": T}, 2 * X)
DIRECT = Golden("image", {"y": X}, 3 * X)


def archive(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **({"x": X, "y": X, "t": T, "eps": X} | arrays))
    return buffer.getvalue()


@pytest.mark.parametrize("golden", [GOLDEN, DIRECT])
def test_values_come_back_as_they_were_and_bytes_are_reproducible(golden: Golden) -> None:
    content = golden.dumps()
    again = Golden.loads(content, golden.gives)
    assert again.inputs.keys() == golden.inputs.keys()
    for name, array in golden.inputs.items():
        np.testing.assert_array_equal(again.inputs[name], array)
    np.testing.assert_array_equal(again.output, golden.output)
    assert again.dumps() == content


@pytest.mark.parametrize(
    ("golden", "names"), [(GOLDEN, {"x", "y", "t", "eps"}), (DIRECT, {"y", "x0"})]
)
def test_the_file_holds_the_tensors_of_the_graph_by_their_names(golden: Golden, names) -> None:
    with np.load(io.BytesIO(golden.dumps())) as file:
        assert set(file.files) == names


def test_the_file_of_a_network_that_gives_something_else_is_refused() -> None:
    with pytest.raises(BundleError, match="x, y, t, eps are needed"):
        Golden.loads(DIRECT.dumps(), "eps")
    with pytest.raises(BundleError, match="y, x0 are needed"):
        Golden.loads(GOLDEN.dumps(), "image")


@pytest.mark.parametrize("golden", [GOLDEN, DIRECT])
def test_an_engine_is_given_the_inputs_and_a_direct_one_nothing_in_their_place(
    golden: Golden,
) -> None:
    seen = {}

    class Recording(Analytic):
        def bind(self, cond):
            seen["y"] = cond

            def network(x, t):
                seen.update(x=x, t=t)
                return cond

            return network

    golden.run(Recording(Direct()))
    expected = {"x": 0 * X, "t": np.ones(3)} | dict(golden.inputs)
    for name, array in seen.items():
        np.testing.assert_array_equal(array, expected[name])


def test_deviation_is_the_worst_samples_relative_rms() -> None:
    eps = GOLDEN.output.copy()
    eps[1] *= 1.03
    assert GOLDEN.deviation(eps) == pytest.approx(0.03, rel=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_deviation_of_what_is_not_finite_is_infinite(bad: float) -> None:
    eps = GOLDEN.output.copy()
    eps[2, 0, 0, 0] = bad
    assert GOLDEN.deviation(eps) == np.inf


def test_an_expected_output_of_zeros_proves_nothing() -> None:
    silent = Golden("image", {"y": X}, 0 * X)
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
        (archive(z=X), "x, y, t, eps are needed"),
        (archive(y=X[:, :, :2]), "differ in shape"),
        (archive(t=T[:2]), "not one value a sample"),
        (lying_about_its_shape(), "not a plain archive"),
        (inflating(), "not a plain archive"),
    ],
)
def test_anything_but_four_plain_arrays_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(BundleError, match=reason):
        Golden.loads(content, "eps")
