"""The report as a browser shows it: opened from the disk, wide and narrow, bright and dark."""

import re

import pytest
from browser import measured, run_browser
from matplotlib.image import imread

from mrct_runtime.study_report.document import Findings, page


@pytest.fixture
def report(sound, reference):
    return page(sound, Findings.of(sound, reference))


@pytest.mark.parametrize("width", [1280, 800, 390])
def test_every_picture_is_there_nothing_is_fetched_and_nothing_sticks_out(report, tmp_path, width):
    found = measured(report, tmp_path, width)
    assert found["inner"] == width
    assert found["scroll"] <= width
    assert len(found["images"]) >= 21
    assert all(w > 0 and h > 0 for w, h, *_ in found["images"])
    assert [name for name in found["fetched"] if not name.startswith("data:")] == []


@pytest.mark.parametrize("width", [1280, 390])
def test_the_verdict_is_seen_without_scrolling(report, tmp_path, width):
    found = measured(report, tmp_path, width, height=700)
    assert 0 < found["first"] < 300


def test_pictures_keep_their_proportions(report, tmp_path):
    for w, h, shown_w, shown_h in measured(report, tmp_path, 1280)["images"]:
        assert shown_w / shown_h == pytest.approx(w / h, rel=0.05)


def test_the_page_is_dark_where_the_reader_prefers_that(report, tmp_path):
    bright, dark = (measured(report, tmp_path, 800, dark=d)["dark"] for d in (False, True))
    assert bright == "rgb(255, 255, 255)"
    assert dark == "rgb(22, 24, 27)"


def test_the_page_as_written_shows_the_verdict_in_its_colour(sound, reference, report, tmp_path):
    (tmp_path / "report.html").write_text(report, "utf-8")
    run_browser(
        tmp_path,
        f"--screenshot={tmp_path / 'page.png'}",
        "--window-size=1280,900",
        (tmp_path / "report.html").as_uri(),
    )
    picture = imread(tmp_path / "page.png")[..., :3]
    level = Findings.of(sound, reference).verdict.level.name.lower()
    colour = re.search(rf"--{level}: #(\w{{6}})", report)[1]
    wanted = [int(colour[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    assert (abs(picture - wanted).max(axis=-1) < 0.01).mean() > 0.05
