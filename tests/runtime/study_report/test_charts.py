import numpy as np
import pytest

from mrct_runtime.evaluation.calibration import Bin
from mrct_runtime.intensity import HuWindow
from mrct_runtime.study_report.charts import _marks, boxes, histogram, worth
from mrct_runtime.study_report.thinned import Thinned

WINDOW = HuWindow(-1000.0, 2000.0)


def points(text):
    return np.array([[float(v) for v in pair.split(",")] for pair in text.split()])


def test_the_histogram_is_highest_where_most_voxels_are():
    hu = np.concatenate([np.full(900, 40.0), np.full(90, 800.0)])
    chart = histogram([hu], None, WINDOW)
    area = points(chart.area)
    top = area[area[:, 1].argmin()]
    low, high = chart.tissues[0].at, chart.tissues[1].at
    assert low < top[0] < high
    assert chart.line is None
    assert chart.y[-1].text == "1 k"


def test_the_window_and_the_tissues_lie_where_the_axis_has_them():
    chart = histogram([np.zeros(10)], None, WINDOW)
    marks = {int(tick.text): tick.at for tick in chart.x}
    assert chart.window[0] == marks[-1000]
    assert chart.window[1] == marks[2000]
    assert marks[-1000] < chart.tissues[0].at < marks[0] < chart.tissues[1].at < marks[1000]


def test_values_beyond_the_drawing_are_not_lost():
    inside = histogram([np.full(100, 0.0)], None, WINDOW)
    beyond = histogram([np.full(100, 9e4)], None, WINDOW)
    assert points(inside.area)[:, 1].min() == points(beyond.area)[:, 1].min()


def test_a_true_ct_is_a_line_over_the_area():
    hu = np.random.default_rng(0).normal(0, 100, 5000)
    chart = histogram([hu], [hu], WINDOW)
    assert np.array_equal(points(chart.line), points(chart.area)[1:-1])


def test_the_boxes_hold_percentiles_and_shares():
    std = {
        "air": Thinned(np.array([]), 0),
        "soft": Thinned(np.linspace(0, 100, 1001), 1001),
        "bone": Thinned(np.full(10, 50.0), 10),
    }
    chart = boxes(std, 1011)
    assert [box.name for box in chart.boxes] == ["soft", "bone"]
    soft, bone = chart.boxes
    marks = {float(tick.text): tick.at for tick in chart.x}
    assert soft.share == "99.0% of the body"
    assert soft.text == "median 50, 95 % below 95 HU"
    assert soft.places[2] == pytest.approx((marks[0] + marks[100]) / 2, abs=0.2)
    assert len(set(bone.places)) == 1


def test_an_error_as_promised_lies_on_the_diagonal():
    bins = [Bin(10, hu, hu, hu) for hu in (20.0, 60.0, 90.0)]
    chart = worth(bins)
    x0, y0, x1, y1 = chart.diagonal
    for x, y in chart.points:
        assert (x - x0) / (x1 - x0) == pytest.approx((y - y0) / (y1 - y0), abs=0.002)


@pytest.mark.parametrize("end", [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 150.0, 0.8])
def test_axes_have_three_to_five_round_steps(end):
    marks = _marks(end)
    assert 4 <= len(marks) <= 6
    assert marks[-1] == pytest.approx(end)
    assert all(len(f"{mark:g}") <= 4 for mark in marks)
