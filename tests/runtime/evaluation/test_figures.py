from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from synthetic_evaluation import make_evaluation, make_pictures

from mrct_runtime.evaluation.figures import (
    bars,
    monte_carlo,
    reliability,
    reverse_process,
    write_figures,
    zoom,
)
from mrct_runtime.evaluation.figures.bars import Axis, Bar, draw_bars, score_bars
from mrct_runtime.evaluation.figures.cases import by_slice, mae_hu
from mrct_runtime.evaluation.figures.drawing import HU, Crop, around, round_up
from mrct_runtime.evaluation.results import Interval, State

AXIS = Axis("", "{:.1f}".format)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    labels = ("EM", "CNN")
    pictures = [*make_pictures(labels), *make_pictures(labels, subject="B1", slice_=0)]
    return folder, write_figures(make_evaluation(runs=labels), pictures, folder)


@pytest.fixture
def captured(monkeypatch, tmp_path):
    """Draws and gives the figure instead of writing it."""
    kept = []

    def capture(module, case):
        monkeypatch.setattr(module, "save_images", lambda figure, path: kept.append(figure))
        return module.draw(case, tmp_path / "unwritten.png"), kept[-1]

    return capture


def images(figure):
    return [image for ax in figure.axes for image in ax.images]


def test_every_figure_is_a_picture_of_a_page_width_in_the_order_of_the_paper(written):
    folder, figures = written
    assert [figure.title.split(". ")[0] for figure in figures] == [
        *("Figure 1", "Figure 2", "Figure 3", "Figure 3", "Figure 3"),
        *("Figure 4a", "Figure 4b", "Figure 5"),
    ]
    assert sorted(path.name for path in folder.iterdir()) == sorted(f.file for f in figures)
    for figure in figures:
        picture = imread(folder / figure.file)[..., :3]
        assert picture.shape[1] == 1440
        assert picture.std() > 0.05
        assert figure.caption


def test_the_same_evaluation_gives_the_same_files(written, tmp_path):
    folder, _ = written
    case = make_pictures(("EM", "CNN"), subject="B1", slice_=0)
    zoom.draw(case, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (folder / zoom.file_of(1)).read_bytes()


def test_without_pictures_there_are_the_scores_and_the_reliability(tmp_path):
    evaluation = make_evaluation(groups={"B": ("B1", "B2")}, runs=("EM",))
    figures = write_figures(evaluation, [], tmp_path / "new")
    assert [figure.file[:8] for figure in figures] == ["figure-3"] * 2 + ["figure-5"]


def test_networks_that_are_evaluated_once_have_no_reverse_process_and_no_samples(tmp_path):
    evaluation = make_evaluation(groups={"all of them": ("A1", "A2")}, runs=("CNN",))
    figures = write_figures(evaluation, make_pictures(("CNN",)), tmp_path)
    assert [figure.file[:8] for figure in figures] == ["figure-3", "figure-3", "figure-4"]


def test_a_bar_is_as_long_as_its_value_and_its_whisker_is_the_interval():
    ax = Figure().subplots()
    draw_bars(ax, [Bar("a", "red", Interval(3.0, 2.5, 3.75)), Bar("b", "red", Interval(5.0, None, None))], AXIS)  # fmt: skip
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 3.0), (0, 5.0)]
    assert [tuple(line.get_xdata()) for line in ax.get_lines()] == [(2.5, 3.75)]
    assert [text.get_text() for text in ax.texts] == ["3.0", "5.0"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_xlim()[0] == 0


def test_a_value_that_does_not_exist_has_no_bar_but_a_word():
    ax = Figure().subplots()
    draw_bars(ax, [Bar("CNN", "red", None)], AXIS)
    assert not ax.patches
    draw_bars(ax, [Bar("DDPM", "red", None, "one sample only")], AXIS)
    assert [text.get_text() for text in ax.texts] == ["-", "one sample only"]
    (_, stds), *_ = bars.cost_bars(make_evaluation(runs=("CNN",)).runs, "all")
    assert [bar.missing for bar in stds] == ["one sample only"]


def test_an_axis_that_does_not_start_at_0_says_so_and_holds_every_interval():
    ax = Figure().subplots()
    draw_bars(ax, [Bar("a", "red", Interval(0.9, 0.88, 0.91))], AXIS._replace(start="lowest"))
    assert "not start at 0" in ax.get_xlabel()
    assert 0 < ax.get_xlim()[0] < 0.88
    assert ax.get_xlim()[1] > 0.91


def test_the_bars_of_a_figure_are_the_evaluation_s_values_under_the_paper_s_names():
    evaluation = make_evaluation()
    found = {bar.label: bar.interval for bar in score_bars(evaluation.runs, "mae_hu", "hospital B")}
    assert list(found)[:4] == ["DDPM", "DDPM-M", "EM", "EM-M"]
    assert list(found)[-2:] == ["CNN", "WGAN-GP"]
    assert found["EM-M"] == evaluation.runs[1].overall["hospital B"].mean["mae_hu"]
    assert found["EM"] == evaluation.runs[1].overall["hospital B"].single["mae_hu"]


def test_times_of_a_thousand_evaluations_and_of_one_are_shown_in_powers_of_ten():
    (_, stds), (seconds, times), _ = bars.cost_bars(make_evaluation().runs, "all")
    assert seconds.start == "powers"
    assert times[0].interval.value == 41.0
    assert [bar.interval is None for bar in stds] == [False] * 4 + [True] * 2


def test_the_comparison_shows_every_ct_in_one_grey_scale_and_the_true_errors(captured):
    case = make_pictures(("DDPM", "CNN"))
    _, figure = captured(zoom, case)
    grey = [image for image in images(figure) if image.get_cmap().name == "gray"]
    mr = (0.0, float(case[0].mr.max()))
    limits = [image.get_clim() for image in grey]
    # whole and enlarged: one MR, and the CT with three results
    assert (limits.count(mr), limits.count((HU.low, HU.high))) == (2, 8)
    assert len(limits) == 10
    errors = [image for image in images(figure) if image.get_cmap().name == "RdBu_r"]
    assert len({image.get_clim() for image in errors}) == 1
    box = zoom.zoom_box(case[0].truth, case[0].body, [])
    ddpm, cnn = case
    for image, result in zip(errors, (cnn.mean, ddpm.samples[0], ddpm.mean), strict=True):
        assert np.array_equal(image.get_array(), box.of(result - ddpm.truth))


def test_the_comparison_names_single_and_averaged_results(captured):
    _, figure = captured(zoom, make_pictures())
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles[:6] == ["MR", "CT", "CNN", "WGAN-GP", "DDPM", "DDPM-M"]
    assert titles[6:] == ["EM", "EM-M", "PC", "PC-M", "ODE", "ODE-M"]


def test_the_box_is_where_the_true_ct_has_most_bone_whatever_the_results():
    truth, body = np.zeros((40, 40)), np.zeros((40, 40), bool)
    body[4:36, 4:36] = True
    truth[20:26, 8:14] = 1000
    truth[30:32, 28:30] = 1000
    truth[0:3, :] = 3000
    results = [np.zeros((40, 40)), np.eye(40) * 5000]
    box = zoom.zoom_box(truth, body, results)
    assert box.of(truth).sum() == 36 * 1000
    assert (box.bottom - box.top, box.right - box.left) == (10, 10)
    assert box == zoom.zoom_box(truth, body, [])


def test_without_bone_the_box_is_where_the_results_differ_most():
    truth, body = np.zeros((40, 40)), np.ones((40, 40), bool)
    other = truth.copy()
    other[25:30, 5:9] = 80
    assert zoom.zoom_box(truth, body, [truth, other]).of(other).sum() == 20 * 80


def test_the_caption_says_what_the_box_was_chosen_by(captured):
    case = make_pictures(("DDPM", "CNN"))
    assert "where the true CT has most bone" in captured(zoom, case)[0]
    boneless = [replace(each, truth=np.zeros_like(each.truth)) for each in case]
    assert "where the results differ most" in captured(zoom, boneless)[0]


def test_the_monte_carlo_figure_shows_the_average_its_error_and_the_deviation(captured):
    case = make_pictures(("EM", "ODE", "CNN"))
    caption, figure = captured(monte_carlo, case)
    shown = images(figure)
    crop = around(case[0].body)
    for pictures, row in zip(case[:2], (shown[2:9], shown[9:16]), strict=False):
        expected = [*pictures.samples[:4], pictures.mean, pictures.mean - pictures.truth, pictures.std]  # fmt: skip
        assert all(
            np.array_equal(image.get_array(), crop.of(want))
            for image, want in zip(row, expected, strict=True)
        )
    deviations = [image.get_clim() for image in shown if image.get_cmap().name == "viridis"]
    assert len(set(deviations)) == 1
    assert "4 of 10 samples" in caption
    assert "[-500, 1300] HU" in caption


def test_the_number_under_a_panel_is_the_error_in_the_body():
    (one,) = make_pictures(("CNN",))
    image = np.where(one.body, one.truth + 7, one.truth + 1000)
    assert mae_hu(image, one) == pytest.approx(7, abs=1e-4)


def test_the_reverse_process_goes_from_the_first_state_to_the_sample_in_at_most_six_states(
    captured,
):
    (pictures,) = make_pictures(("EM",))
    states = tuple(State(t, pictures.states[0].image) for t in np.linspace(1, 0, 21))
    _, figure = captured(reverse_process, [replace(pictures, states=states)])
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles[:3] == ["MR", "CT", "t = 1"]
    assert titles[-2:] == ["t = 0.05", "sample"]
    assert len(titles) == 2 + 6 + 1


def test_a_sampler_of_one_step_has_a_reverse_process_of_one_state(captured):
    (pictures,) = make_pictures(("EM",))
    _, figure = captured(reverse_process, [replace(pictures, states=pictures.states[:1])])
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == ["MR", "CT", "t = 1", "sample"]


def test_tiny_images_without_a_body_have_every_figure(tmp_path):
    pictures = make_pictures(("EM", "CNN"), size=8)
    bare = [replace(one, body=np.zeros_like(one.body)) for one in pictures]
    evaluation = make_evaluation(groups={}, runs=())
    assert len(write_figures(evaluation, bare, tmp_path)) == 3


def test_groups_whose_labels_differ_in_signs_only_have_files_of_their_own():
    assert bars.file_of(1, "A b") != bars.file_of(2, "A-b")
    assert bars.file_of(1, "a/../b\u00e9").isascii()
    assert "/" not in bars.file_of(1, "a/../b")


def test_the_reliability_diagram_shows_the_bins_and_the_coverages(monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(reliability, "save", lambda figure, path: kept.append(figure))
    evaluation = make_evaluation(runs=("EM", "CNN"))
    reliability.draw(evaluation, tmp_path / "unwritten.png")
    errors, coverage = kept[0].axes
    known = evaluation.runs[0].calibration["raw"].tissues["all"]
    curves = {line.get_label(): line for line in errors.get_lines()}
    assert list(curves["all, raw"].get_xdata()) == [part.promised_hu for part in known.bins]
    assert list(curves["all, raw"].get_ydata()) == [part.rmse_hu for part in known.bins]
    curves = {line.get_label(): line for line in coverage.get_lines()}
    assert list(curves["all, raw"].get_xdata()) == [50, 80, 95]
    assert list(curves["all, raw"].get_ydata()) == [
        100 * one.value for one in known.coverage.values()
    ]
    assert {"air, raw", "bone, raw", "all, recalibrated"} <= set(curves)
    assert "bone, recalibrated" not in curves


def test_slices_of_the_same_subject_are_told_apart():
    pictures = [*make_pictures(("EM", "CNN")), *make_pictures(("EM",), slice_=4)]
    assert [len(case) for case in by_slice(pictures)] == [2, 1]


def test_an_image_without_a_body_is_shown_whole():
    assert around(np.zeros((5, 9), bool)) == Crop(0, 5, 0, 9)


@pytest.mark.parametrize(("value", "end"), [(0.0, 1e-6), (1.0, 1.0), (97, 100), (101, 150), (420, 500)])  # fmt: skip
def test_a_colour_bar_ends_at_a_round_number(value, end):
    assert round_up(value) == pytest.approx(end)


def test_without_calibration_there_is_no_reliability_diagram(tmp_path):
    assert reliability.draw(make_evaluation(runs=("CNN",)), tmp_path / "none.png") is None
