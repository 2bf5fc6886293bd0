import pytest

from mrct_runtime.bench.work import Layer, Work


def test_a_layer_is_limited_by_arithmetic_or_by_traffic():
    work = Work((Layer("Conv", 1000, 10, weights=20), Layer("norm", 0, 30)))
    assert work.flop == 1000
    # Two images in half precision: 2000 FLOP against 2 * (20 + 20) bytes, then 2 * 60 bytes.
    assert work.roofline(2, flop_s=100, bytes_s=10, bytes_a_number=2) == pytest.approx(20 + 12)
    assert work.roofline(2, flop_s=1e6, bytes_s=10, bytes_a_number=2) == pytest.approx(8 + 12)
