from pathlib import Path

import numpy as np
import pytest
from dicom_study import make_grid, write_series
from pydicom import Dataset
from tiny_bundle import tiny_manifest

import mrct_runtime
from mrct_runtime.appearance import Seen, appearance
from mrct_runtime.demonstration import FOLDER
from mrct_runtime.departures import departed, departures, of_header, of_image
from mrct_runtime.dicom import read_study
from mrct_runtime.dicom.reading import read_series
from mrct_runtime.dicom.scanning import scan
from mrct_runtime.intensity import body_mask
from mrct_runtime.manifest import Domain
from mrct_runtime.process import VESDE
from mrct_runtime.settings import Settings
from mrct_runtime.translate import conditioned, prepare
from mrct_runtime.volume import Volume
from mrct_train.phantom import GridSpec, generate_subject

PELVIS = Domain(modality="MR", sequence="T2w TSE", anatomy="male pelvis")
EXAMPLE = Path(__file__).parents[2] / "examples/study"


@pytest.fixture(scope="module")
def demonstration():
    return mrct_runtime.load(FOLDER / "demo-sde.mrct")


@pytest.fixture(scope="module")
def example():
    return read_study(EXAMPLE).volume


@pytest.fixture
def found_in(demonstration, tmp_path):
    """The departures that a run with the demonstration bundle finds in an MR of this signal [S, H, W]."""

    def found(volume):
        signal = volume.array / volume.array.max() * 4000
        write_series(tmp_path / "study", volume.grid, signal.astype(np.uint16))
        job = prepare(demonstration, tmp_path / "study", Settings(sampler="em"))
        assert (len(job.given.departures) > 0) == any("unlike" in line for line in job.warnings)
        return job.given.departures

    return found


def header(**elements):
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize("part", ["PELVIS", "PROSTATE", "ABDOMENPELVIS", "", "SOMETHING ELSE"])
def test_a_header_of_the_same_region_or_of_none_is_no_departure(part):
    assert list(of_header(PELVIS, header(BodyPartExamined=part, EchoTime="104"))) == []


def test_another_region_is_a_grave_departure_named_by_the_region_alone():
    (found,) = of_header(PELVIS, header(BodyPartExamined="HEAD CANARY"))
    assert found.grave
    assert found.text == "the MR is of the head, the model was trained on: male pelvis"


def test_a_short_echo_is_a_grave_departure_from_t2_weighting():
    (found,) = of_header(PELVIS, header(EchoTime="22.0"))
    assert found.grave
    assert "22 ms" in found.text
    other = Domain(modality="MR", sequence="T1w", anatomy="brain")
    assert list(of_header(other, header(EchoTime="22.0"))) == []


def test_the_example_study_is_like_the_training(found_in, example):
    assert found_in(example) == ()


def test_phantoms_that_were_not_trained_on_are_like_the_training(demonstration):
    for size, spacing in ((96, 4.5), (192, 2.25)):
        made = generate_subject(77, 3, GridSpec(size, spacing, 6, 6.0, 6.0))
        array = made.mr.astype(np.float32)
        grid = make_grid(array.shape, (6.0, spacing, spacing))
        image = demonstration.manifest.image
        condition = conditioned(Volume(array, grid), demonstration.normalisation, image).condition
        numbers = appearance(condition.array, image.spacing_mm)
        assert list(of_image(demonstration.manifest.seen, numbers)) == []


def test_an_inverted_mr_is_a_grave_departure(found_in, example):
    body = body_mask(example)
    inverted = np.where(body, example.array[body].max() - example.array, 0)
    found = found_in(Volume(inverted, example.grid))
    assert any(each.grave for each in found)


def test_a_body_of_one_signal_is_a_grave_departure(found_in, example):
    noise = np.random.default_rng(0).normal(0, 20, example.array.shape)
    flat = np.where(body_mask(example), 500 + noise, 5)
    assert any(each.grave for each in found_in(Volume(flat, example.grid)))


def test_a_ct_in_the_place_of_the_mr_is_a_grave_departure(found_in):
    (group,) = (group for group in scan(EXAMPLE).groups if group.modality == "CT")
    ct = read_series(group).volume
    assert any(each.grave for each in found_in(Volume(ct.array + 1024, ct.grid)))


def test_a_small_head_is_a_departure_in_several_ways(found_in, example):
    grid = make_grid(example.array.shape, (6.0, 2.2, 2.2))
    assert len(found_in(Volume(example.array, grid))) >= 1
    assert "body area" in found_in(Volume(example.array, grid))[0].text


def test_a_real_brain_is_told_from_the_pelves_of_the_training(shared_data, demonstration):
    groups = scan(shared_data / "ge_fse_pd_axial_dicom").groups
    series = read_series(max(groups, key=lambda group: len(group.files)))
    manifest = demonstration.manifest
    condition = conditioned(series.volume, manifest.mr_normalisation, manifest.image).condition
    found = departures(manifest, series, condition.array)
    assert any(each.grave for each in found)
    assert sum("in training" in each.text for each in found) >= 2


def test_pixels_much_coarser_than_the_models_are_a_departure(tmp_path):
    write_series(tmp_path, make_grid((4, 24, 30), (3.0, 5.0, 5.0)))
    series = read_study(tmp_path)
    manifest = tiny_manifest("tiny", VESDE(), 16, 2.0)
    (found,) = departures(manifest, series, np.zeros((4, 16, 16)))
    assert "coarser" in found.text
    assert not found.grave


def test_the_ranges_of_few_subjects_are_no_measure():
    few = Seen(subjects=5, ranges={"signal_50": (0.4, 0.5)})
    enough = Seen(subjects=6, ranges={"signal_50": (0.4, 0.5)})
    assert list(of_image(few, {"signal_50": 0.9})) == []
    assert len(list(of_image(enough, {"signal_50": 0.9}))) == 1


def test_all_departures_are_one_warning():
    found = tuple(of_header(PELVIS, header(BodyPartExamined="HEAD", EchoTime="22")))
    (line,) = departed(found)
    assert line.count(";") == 1
    assert departed(()) == ()
