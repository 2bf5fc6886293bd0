import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources

import pytest
from synthetic_evaluation import BOOTSTRAP, make_evaluation

from mrct_runtime.errors import NoInputError
from mrct_runtime.evaluation.html import tables, write_html
from mrct_runtime.evaluation.html.comparison import Comparison
from mrct_runtime.evaluation.html.findings import findings, listed
from mrct_runtime.evaluation.ranking import entries, in_figures, ranking, three_digits
from mrct_runtime.evaluation.results import Figure, Interval

PNG = b"\x89PNG\r\n\x1a\n made up"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    return tmp_path


@pytest.fixture
def evaluation():
    return replace(make_evaluation(), figures=(Figure("a.png", "Figure 1. It", "A caption."),))


class _Numbers(HTMLParser):
    """Every number of the page: its exact value and the text shown."""

    def __init__(self):
        super().__init__()
        self.found, self._exact = [], None

    def handle_starttag(self, tag, attrs):
        self._exact = dict(attrs).get("value") if tag == "data" else None

    def handle_data(self, data):
        if self._exact is not None:
            self.found.append((float(self._exact), data))
            self._exact = None


def numbers_of(page):
    parser = _Numbers()
    parser.feed(page)
    return parser.found


def numbers_in(value):
    match value:
        case dict():
            return {number for inner in value.values() for number in numbers_in(inner)}
        case list():
            return {number for inner in value for number in numbers_in(inner)}
        case bool() | str() | None:
            return set()
        case _:
            return {float(value)}


def test_every_number_of_the_tables_is_one_of_the_json(evaluation, folder):
    page = write_html(evaluation, folder).read_text("utf-8")
    shown = numbers_of(page)
    assert len(shown) > 600
    assert {exact for exact, _ in shown} <= numbers_in(json.loads(evaluation.to_json()))


def test_a_score_is_shown_rounded_with_its_interval(evaluation):
    comparison = Comparison(evaluation, "hospital A")
    table = dict(tables.scores(comparison).rows)
    mae = evaluation.runs[0].overall["hospital A"].mean["mae_hu"]
    cell = table["DDPM-M"][comparison.metrics.index("mae_hu")]
    assert (cell.text, cell.exact) == (f"{mae.value:.1f}", mae.value)
    assert cell.below == f"[{mae.low:.1f}, {mae.high:.1f}]"
    assert table["CNN"][comparison.metrics.index("mae_hu")].best


def test_single_and_averaged_results_have_a_row_each(evaluation):
    names = [name for name, _ in tables.scores(Comparison(evaluation, "all")).rows]
    assert names == [
        *("DDPM", "DDPM-M", "EM", "EM-M", "PC", "PC-M", "ODE", "ODE-M", "CNN", "WGAN-GP"),
    ]


def test_the_page_needs_no_network_and_no_script(evaluation, folder):
    page = write_html(evaluation, folder).read_text("utf-8")
    assert not re.search(
        r"<script|<link|<iframe|@import|url\(|//", re.sub(r"base64,[^\"]+", "", page)
    )
    sources = re.findall(r"(?:src|href)=\"([^\"]*)\"", page)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert base64.b64decode(sources[0].partition(",")[2]) == PNG


def test_the_page_says_what_it_is_for_and_under_which_conditions(evaluation, folder):
    page = write_html(evaluation, folder).read_text("utf-8")
    for text in (
        "for research use only",
        "[-1024, 3000] HU",
        "[-1024, 3071] HU",
        "3-D for every subject",
        "a made-up processor",
        "3 voxels of the CT lie above 3071 HU",
        "95 % interval",
        "mrct eval ddpm.mrct a &lt;folder&gt;",
        "Group: hospital B (2)",
    ):
        assert text in page


def test_names_cannot_become_markup(folder):
    evaluation = make_evaluation(groups={"<b>bold</b>": ("A1", "A2")})
    page = write_html(evaluation, folder).read_text("utf-8")
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page


def test_one_subject_has_values_but_no_intervals(folder):
    evaluation = make_evaluation(groups={"hospital A": ("A1",)})
    table = tables.scores(Comparison(evaluation, "all"))
    assert all(cell.text and not cell.below for _, cells in table.rows for cell in cells)
    assert "not clear from these subjects" in " ".join(findings(Comparison(evaluation, "all")))
    assert "None" not in write_html(evaluation, folder).read_text("utf-8")


def test_a_metric_that_a_run_lacks_is_a_dash_and_does_not_win(evaluation):
    run = evaluation.runs[4]
    overall = {
        group: replace(each, single={k: v for k, v in each.single.items() if k != "mae_hu"})
        for group, each in run.overall.items()
    }
    runs = (*evaluation.runs[:4], replace(run, overall=overall))
    comparison = Comparison(replace(evaluation, runs=runs), "all")
    cell = dict(tables.scores(comparison).rows)["CNN"][comparison.metrics.index("mae_hu")]
    assert (cell.text, cell.exact) == ("-", None)
    assert comparison.ranking("mae_hu")[0][0].label != "CNN"


def test_slices_that_were_scored_one_by_one_are_said_to_be(evaluation, folder):
    runs = tuple(
        replace(run, subjects=tuple(replace(one, dimensions=2) for one in run.subjects))
        for run in evaluation.runs
    )
    page = write_html(replace(evaluation, runs=runs), folder).read_text("utf-8")
    assert "2-D: each slice is scored on its own" in page


def test_a_figure_that_is_not_there_is_named(evaluation, tmp_path):
    with pytest.raises(NoInputError, match=r"a\.png: .*write the figures first"):
        write_html(evaluation, tmp_path)


def test_an_evaluation_without_figures_and_calibration_has_a_page(folder):
    page = write_html(make_evaluation(runs=("CNN",)), folder).read_text("utf-8")
    assert "No figures were drawn" in page
    assert "What the deviation is worth" not in page


def test_the_template_comes_with_the_package():
    assert resources.files("mrct_runtime.evaluation.html").joinpath("report.html.jinja").is_file()
    assert resources.files("mrct_runtime.html").joinpath("frame.html.jinja").is_file()


def test_where_the_cnn_wins_is_said_plainly_with_the_lead_s_interval(evaluation):
    comparison = Comparison(evaluation, "all")
    beats, loses = [text for text in findings(comparison) if text.startswith("The CNN")]
    assert "MAE bone" in beats
    assert "SSIM" not in beats
    assert re.search(r"does not win by SSIM \(.* behind (DDPM|PC|EM)-M", loses)
    best = comparison.ranking("mae_hu", lambda row: not row.direct)[0][0]
    cnn = {one.subject: one.single["mae_hu"] for one in evaluation.runs[4].subjects}
    theirs = {one.subject: one.mean["mae_hu"] for one in best.run.subjects}
    by = BOOTSTRAP.interval([theirs[name] - cnn[name] for name in cnn])
    assert f"MAE ({by.value:.1f} HU [{by.low:.1f}, {by.high:.1f}] ahead" in beats
    assert f"ahead of {best.label}" in beats


def test_a_lead_that_these_subjects_do_not_bear_out_is_not_stated_as_a_fact():
    clear, single = make_evaluation(), make_evaluation(groups={"hospital A": ("A1",)})
    text = " ".join(findings(Comparison(clear, "all")))
    assert "DDPM-M is best, but not clearly, by SSIM (" in text
    assert "CNN is best by PSNR (" in text
    told = [text for text in findings(Comparison(single, "all")) if "is best" in text]
    assert told
    assert all("is best, but not clearly, by" in text for text in told)


def test_a_single_result_is_not_called_the_best():
    assert "is best" not in " ".join(findings(Comparison(make_evaluation(runs=("CNN",)), "all")))


def test_a_cnn_that_wins_nothing_is_said_to(evaluation):
    run = evaluation.runs[5]
    runs = (*evaluation.runs[:4], replace(run, method="cnn", label="CNN"))
    assert "The CNN beats the best diffusion result by no metric." in findings(
        Comparison(replace(evaluation, runs=runs), "all")
    )


def test_averaging_uncertainty_and_time_have_their_sentences(evaluation):
    text = " ".join(findings(Comparison(evaluation, "all")))
    assert "in 4 of 4 by every metric" in text
    assert re.search(r"from low to high: PC .* HU, EM .* HU, DDPM .* HU and ODE .* HU\.", text)
    assert re.search(r"from fast to slow: CNN .* s, .* and PC 43\.3 s\.", text)


def test_a_lead_compares_within_subjects_and_is_positive_where_it_is_better(evaluation):
    comparison = Comparison(evaluation, "all")
    (lead,) = [lead for lead in comparison.leads() if lead.metric == "mae_hu"]
    assert lead.first.label == "CNN"
    assert lead.by.value == pytest.approx(lead.values[1].value - lead.values[0].value)
    assert lead.by.low < lead.by.value < lead.by.high
    assert 0 <= lead.wins <= lead.subjects == 6


def test_too_few_subjects_tell_no_results_apart(evaluation):
    verdicts = {
        group: {cells[-1].text for _, cells in tables.winners(Comparison(evaluation, group)).rows}
        for group in ("all", "hospital B")
    }
    assert "yes" in verdicts["all"]
    assert verdicts["hospital B"] == {"too few"}


def test_calibration_is_read_from_values_and_from_json_alike(evaluation):
    rows = tables.reliability(evaluation).rows
    assert rows[0][0] == "DDPM, raw: all"
    content = json.loads(evaluation.to_json())
    runs = tuple(
        replace(run, calibration=known["calibration"])
        for run, known in zip(evaluation.runs, content["runs"], strict=True)
    )
    assert tables.reliability(replace(evaluation, runs=runs)).rows == rows


def test_the_best_is_the_highest_or_the_lowest_as_the_metric_has_it(evaluation):
    rows = entries(evaluation.runs)
    for metric, end in (("paper_ssim", max), ("mae_hu", min)):
        values = [row.interval(metric, "all").value for row in rows]
        assert ranking(rows, metric, "all")[0][1].value == end(values)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0412, "0.0412"), (6.1, "6.10"), (148.5, "148"), (1, "1"), (11000.0, "11000"), (0, "0")],
)
def test_three_digits_are_enough_for_times_and_evaluations(value, text):
    assert three_digits(value) == text


def test_a_metric_s_unit_decides_its_decimals():
    figures = [in_figures(metric, 27.31234) for metric in ("paper_ssim", "paper_psnr", "mae_hu")]
    assert figures == ["27.312", "27.31", "27.3"]


def test_words_are_listed_as_in_prose():
    assert (listed(["a"]), listed(["a", "b", "c"])) == ("a", "a, b and c")


def test_an_interval_without_ends_shows_its_value_only():
    assert tables._interval("mae_hu", Interval(3.0, None, None), best=False).below == ""
