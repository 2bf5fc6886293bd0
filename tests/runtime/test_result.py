import json
from dataclasses import replace

import nibabel
import numpy as np
import pydicom
import pytest
from fitted import recalibration
from mr_study import SHAPE, write_mr_study
from tiny_bundle import write_tiny_bundle

import mrct_runtime
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.errors import NumericError, OutputError
from mrct_runtime.evaluation.recalibration import Recalibration
from mrct_runtime.output_folder import OutputFolder
from mrct_runtime.process import VESDE
from mrct_runtime.settings import Settings
from mrct_runtime.translate import prepare
from mrct_runtime.uncertainty import Uncertainty
from mrct_runtime.volume import Volume


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    place = tmp_path_factory.mktemp("result")
    bundle = mrct_runtime.load(write_tiny_bundle(place / "tiny.mrct", size=24))
    job = prepare(bundle, write_mr_study(place / "study"), Settings(mc=3, options={"steps": 200}))
    return job.run(Analytic(VESDE()))


@pytest.fixture(scope="module")
def saved(result, tmp_path_factory):
    return result.save(tmp_path_factory.mktemp("saved") / "out")


def test_the_ct_series_holds_the_mean_in_whole_hu(result, saved):
    slices = [pydicom.dcmread(path) for path in sorted((saved / "sct").iterdir())]
    stored = np.stack([ds.pixel_array * ds.RescaleSlope + ds.RescaleIntercept for ds in slices])
    assert np.abs(stored - result.mean_hu.array).max() <= 0.5
    assert {ds.Modality for ds in slices} == {"CT"}


def test_the_map_and_the_niftis_hold_mean_and_deviation(result, saved):
    std = pydicom.dcmread(saved / "std.dcm")
    for frame, place in zip(std.pixel_array, std.PerFrameFunctionalGroupsSequence, strict=True):
        position = place.PlanePositionSequence[0].ImagePositionPatient
        index = result.std_hu.grid.index(position)
        assert np.allclose(index[1:], 0, atol=1e-4)
        assert np.array_equal(frame, result.std_hu.array[round(index[0])])
    for name, volume in (("sct.nii.gz", result.mean_hu), ("sct_std.nii.gz", result.std_hu)):
        array = nibabel.load(saved / name).get_fdata()
        assert np.array_equal(array.transpose(2, 1, 0), volume.array)


def test_the_result_says_that_it_is_for_research(saved):
    first = pydicom.dcmread(saved / "sct/CT.0001.dcm")
    assert "RESEARCH USE ONLY" in first.SeriesDescription
    assert "research use only" in json.loads((saved / "run.json").read_text())["notice"]


def test_the_derivation_names_model_sampler_and_seed(result, saved):
    first = pydicom.dcmread(saved / "sct/CT.0001.dcm")
    for word in ("tiny", result.model.sha256, "sampler em", "3 Monte Carlo samples", "seed 0"):
        assert word in first.DerivationDescription


def test_run_json_has_versions_timings_and_the_inputs_digest(result, saved):
    report = json.loads((saved / "run.json").read_text())
    assert report["versions"]["mrct"] == mrct_runtime.__version__
    assert set(report["seconds"]) == {"reading", "preparing", "sampling", "resampling"}
    assert len(report["input"]["sop_instance_uids_sha256"]) == 64
    assert report["input"]["slices"] == SHAPE[0]
    assert str(result.source.headers[0].SOPInstanceUID) not in json.dumps(report)


def test_run_json_tells_that_the_deviation_is_the_samples_own(saved):
    told = json.loads((saved / "run.json").read_text())["uncertainty"]
    why = "the bundle has no recalibration for sampler em"
    assert told == {"recalibrated": False, "why": why, "recalibration": None}
    assert "Recalibrated" not in pydicom.dcmread(saved / "std.dcm").ContentDescription


def test_a_recalibrated_deviation_is_told_in_run_json_and_in_the_dicom_files(result, tmp_path):
    fitted = recalibration("em", mc=3, steps=200)
    uncertainty = Uncertainty.of({"em": fitted}, "em", result.sampling, raw=False)
    saved = replace(result, uncertainty=uncertainty).save(tmp_path / "out")
    told = json.loads((saved / "run.json").read_text())["uncertainty"]
    assert told["recalibrated"] is True
    assert Recalibration.model_validate_json(json.dumps(told["recalibration"])) == fitted
    std = pydicom.dcmread(saved / "std.dcm")
    assert std.ContentDescription.startswith("Recalibrated spread")
    first = pydicom.dcmread(saved / "sct/CT.0001.dcm")
    assert "Deviation recalibrated on 5 subjects: nobody." in first.DerivationDescription


def test_an_image_with_a_nan_cannot_become_a_result(result):
    array = result.mean_hu.array.copy()
    array[1, 2, 3] = np.nan
    with pytest.raises(NumericError, match="not finite"):
        replace(result, mean_hu=Volume(array, result.mean_hu.grid))


def test_a_file_that_cannot_be_written_is_an_output_error_and_leaves_nothing(result, tmp_path):
    with OutputFolder.claim(tmp_path / "out") as folder:
        (folder.partial / "sct").write_text("in the way")
        with pytest.raises(OutputError, match="file exists"):
            result.write(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_result_is_not_saved_over_something_else(result, tmp_path):
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(OutputError):
        result.save(tmp_path, overwrite=True)
    assert (tmp_path / "precious").read_text() == "mine"
