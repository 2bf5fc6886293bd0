import base64
import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from io import BytesIO

import numpy as np
import pytest
from dicom_study import CANARY, write_series
from matplotlib.image import imread
from mr_study import SHAPE

from mrct_runtime.report import NOTICE
from mrct_runtime.study_report.document import Findings, page
from mrct_runtime.volume import Volume


class _Parts(HTMLParser):
    """The tags with their attributes in order, and the text outside styles."""

    def __init__(self):
        super().__init__()
        self.tags, self.words, self._style = [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag):
        self._style = False

    def handle_data(self, data):
        if not self._style and data.strip():
            self.words.append(" ".join(data.split()))


def parsed(text):
    parts = _Parts()
    parts.feed(text)
    return parts


def shown(result, reference=None):
    return page(result, Findings.of(result, reference))


@pytest.fixture
def report(sound):
    return shown(sound)


@pytest.fixture
def compared(sound, reference):
    return shown(sound, reference)


def images_of(text):
    """Title -> pixels [H, W, ...] of every picture; of several by one title the first."""
    parts = parsed(text)
    found = {}
    for tag, attributes in parts.tags:
        if tag == "img":
            title = attributes["alt"].partition(", axial")[0].partition(", coronal")[0]
            content = base64.b64decode(attributes["src"].removeprefix("data:image/png;base64,"))
            found.setdefault(title.partition(", sagittal")[0], imread(BytesIO(content)))
    return found


def test_the_page_is_one_file_without_network_and_scripts(compared):
    parts = parsed(compared)
    assert not {tag for tag, _ in parts.tags} & {"script", "link", "iframe", "object", "a"}
    sources = [value for _, a in parts.tags for name, value in a.items() if name in {"src", "href"}]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?:|url\(|@import", compared)
    policies = [a["content"] for tag, a in parts.tags if a.get("http-equiv")]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_the_verdict_is_the_first_thing_said_and_the_notice_the_next(report):
    words = parsed(report).words
    assert words[:3] == [
        "Synthetic CT: Looks usable for research",
        "Synthetic CT from MR",
        "\u2713 Looks usable for research",
    ]
    assert words.index(NOTICE) < words.index("Input MR")


def test_the_verdicts_colour_is_that_of_its_level(sound):
    doubtful = replace(sound, given=replace(sound.given, lost=0.2))
    for result, level in ((sound, "fine"), (doubtful, "distrust")):
        classes = [a.get("class", "") for _, a in parsed(shown(result)).tags]
        assert f"verdict {level}" in classes


def test_three_planes_are_shown_in_both_windows_with_the_letters_of_their_edges(report):
    alts = [a["alt"] for tag, a in parsed(report).tags if tag == "img"]
    for plane, edges in (
        ("axial", "left R, right L, top A, bottom P"),
        ("coronal", "left R, right L, top H, bottom F"),
        ("sagittal", "left A, right P, top H, bottom F"),
    ):
        of_plane = [alt for alt in alts if f" {plane} " in alt]
        for title in ("Input MR", "Synthetic CT, soft tissue", "Synthetic CT, bone", "Uncertainty"):
            assert any(alt.startswith(title) and edges in alt for alt in of_plane)


def test_the_pictures_show_the_windows_and_the_uncertainty_in_colours(sound):
    mean, std = (np.zeros(sound.mean_hu.array.shape, np.float32) for _ in range(2))
    mean[:, :, :12], mean[:, :, 12:] = -160.0, 240.0
    std[:, :12, :] = 100.0
    grid = sound.mean_hu.grid
    images = images_of(shown(replace(sound, mean_hu=Volume(mean, grid), std_hu=Volume(std, grid))))
    soft = images["Synthetic CT, soft tissue"]
    assert soft[12, 2] == 0
    assert soft[12, -3] == 1
    bone = images["Synthetic CT, bone"]
    assert bone[12, -3] == pytest.approx((240 + 500) / 1800, abs=0.003)
    over = images["Uncertainty over the CT"][..., :3]
    assert np.ptp(over[-3, 2]) < 0.01  # grey where the samples agree
    assert np.ptp(over[2, 2]) > 0.4  # coloured where they do not


def test_differences_are_red_where_the_synthetic_ct_is_too_high(sound, reference):
    hu = sound.mean_hu.array - 300
    hu[:, :12] += 600
    images = images_of(shown(sound, replace(reference, hu=hu)))
    error = images["Synthetic - true"][..., :3]
    high, low = error[-3, 12], error[2, 12]
    assert high[0] > high[2] + 0.3
    assert low[2] > low[0] + 0.3
    assert {"True CT, soft tissue", "True CT, bone"} <= images.keys()


def test_nothing_of_the_patient_is_in_the_page(sound, report, compared):
    header = sound.source.headers[0]
    for text in (report, compared):
        assert CANARY not in text
        assert sound.source.description not in text
        for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate"):
            assert str(header[keyword].value) not in text


def test_warnings_stand_in_full_and_are_escaped(sound):
    text = shown(replace(sound, warnings=("5 < 7 & <b>bold</b>",)))
    assert "<li>5 &lt; 7 &amp; &lt;b&gt;bold&lt;/b&gt;</li>" in text
    assert "Warnings of the run" not in shown(sound)


def test_every_check_is_listed_with_what_was_found(sound, report):
    words = " ".join(parsed(report).words)
    for check in Findings.of(sound, None).checks:
        assert check.name in words
        assert check.found in words


def test_how_it_was_made_is_told(sound, report):
    words = parsed(report).words
    facts = dict(itertools.pairwise(words))
    assert facts["bundle sha256"] == sound.model.sha256
    assert facts["samples a slice"] == "6"
    assert facts["seed"] == "0"
    assert facts["network evaluations"] == str(sound.counters.evaluations)
    assert "steps 400" in facts["sampler"]
    assert "24 x 24 pixels of 2 mm" in facts["model grid"]


def test_a_comparison_is_told_in_numbers(sound, reference, compared):
    found = Findings.of(sound, reference).comparison
    words = parsed(compared).words
    assert f"{found.metrics['mae_hu']:.1f} HU" in words
    assert f"{found.coverage['95'] * 100:.1f} %" in words
    assert "Against the true CT" in words
    assert "Against the true CT" not in parsed(shown(sound)).words


def test_one_sample_has_no_chart_of_its_deviation(sound):
    one = replace(
        sound,
        std_hu=Volume(np.zeros_like(sound.std_hu.array), sound.std_hu.grid),
        counters=replace(sound.counters, samples=(1,) * SHAPE[0], standard_error_hu=None),
    )
    assert "Deviation of the samples by tissue" not in shown(one)


def test_the_same_result_gives_the_same_page(sound, report):
    assert shown(sound) == report


def test_saving_writes_the_report_and_its_verdict_into_run_json(sound, tmp_path):
    out = sound.save(tmp_path / "out")
    assert "Looks usable for research" in (out / "report.html").read_text("utf-8")
    run = json.loads((out / "run.json").read_text())
    assert run["verdict"]["level"] == "fine"
    assert {check["name"] for check in run["verdict"]["checks"]} >= {"Model", "Input MR"}
    assert run["reference"] is None
    assert len(run["outputs"]["report.html"]) == 64


def test_saving_with_a_true_ct_compares_it(sound, tmp_path):
    grid = sound.source.volume.grid
    stored = np.rint(sound.mean_hu.array + 1024 + 50).astype(np.uint16)
    write_series(tmp_path / "ct", grid, stored, modality="CT", description="ct")
    run = json.loads(
        (sound.save(tmp_path / "out", reference=tmp_path / "ct") / "run.json").read_text()
    )
    assert run["reference"]["metrics"]["mae_hu"] == pytest.approx(50, abs=0.5)
    assert run["reference"]["resampled"] is False


def test_the_template_comes_with_the_package():
    package = resources.files("mrct_runtime.study_report")
    assert package.joinpath("study.html.jinja").is_file()
