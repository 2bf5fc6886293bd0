import json
from dataclasses import replace

import canaries
import numpy as np
import pytest
from dicom_study import make_grid, run_program, validation_errors, write_series
from mr_study import SHAPE, blob
from pydicom import dcmread
from tiny_bundle import write_tiny_bundle

import mrct_runtime
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.errors import UsageError
from mrct_runtime.outputs import Outputs
from mrct_runtime.process import VESDE
from mrct_runtime.settings import Settings
from mrct_runtime.translate import prepare

EVERYTHING = Outputs(maps=True, contour="rtstruct", page=True, kvp=120)


def made_from(study, place, series=None):
    bundle = mrct_runtime.load(write_tiny_bundle(place / "tiny.mrct", size=24))
    job = prepare(bundle, study, Settings(mc=2, options={"steps": 20}), series=series)
    return job.run(Analytic(VESDE()))


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    place = tmp_path_factory.mktemp("result")
    write_series(place / "study", make_grid(SHAPE, (3.0, 2.0, 2.0), (12, -4, 2)), blob())
    return made_from(place / "study", place)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A result of a study with a canary in every element."""
    place = tmp_path_factory.mktemp("watched")
    grid = make_grid(SHAPE, (3.0, 2.0, 2.0))
    write_series(place / "study", grid, blob(), per_slice=canaries.fill)
    return made_from(place / "study", place, series=canaries.BY_VR["UI"])


def objects(folder):
    return {path.relative_to(folder).as_posix(): dcmread(path) for path in folder.rglob("*.dcm")}


@pytest.mark.parametrize(
    ("contour", "spacing", "deidentify"),
    [("rtstruct", None, False), ("seg", 1.5, False), ("seg", None, True), ("rtstruct", 1.5, True)],
)
def test_every_object_of_every_option_is_valid_and_new(
    result, tmp_path, contour, spacing, deidentify
):
    wanted = replace(EVERYTHING, contour=contour, spacing=spacing, deidentify=deidentify)
    folder = result.save(tmp_path / "out", outputs=wanted)
    made = objects(folder)
    kinds = {name.partition("/")[0] for name in made}
    assert kinds == {"sct", "std", "page", "std.dcm", f"body_{contour}.dcm"}
    old = {header.SOPInstanceUID for header in result.source.headers} | {result.source.uid}
    uids = [image.SOPInstanceUID for image in made.values()]
    assert len({*uids}) == len(uids)
    assert not {*uids, *(image.SeriesInstanceUID for image in made.values())} & old
    assert len({image.StudyInstanceUID for image in made.values()}) == 1
    assert len({(image.Modality, image.SeriesNumber) for image in made.values()}) == 5
    for name in made:
        assert validation_errors(run_program("dciodvfy", folder / name)) == [], name
    assert "Error" not in run_program("dcentvfy", *(folder / name for name in made))
    assert json.loads((folder / "run.json").read_text())["written"]["spacing"] == spacing


def test_nothing_besides_is_written_by_default(result, tmp_path):
    folder = result.save(tmp_path / "out")
    assert {name.partition("/")[0] for name in objects(folder)} == {"sct", "std.dcm"}
    assert dcmread(folder / "sct/CT.0001.dcm").KVP is None


def test_a_tube_voltage_is_claimed_where_it_was_asked_for(result, tmp_path):
    folder = result.save(tmp_path / "out", outputs=Outputs(kvp=120))
    assert dcmread(folder / "sct/CT.0001.dcm").KVP == 120


def test_the_same_result_written_again_is_the_same_to_a_pacs(result, tmp_path):
    again = [objects(result.save(tmp_path / name, outputs=EVERYTHING)) for name in "ab"]
    uids = [{n: (i.SeriesInstanceUID, i.SOPInstanceUID) for n, i in a.items()} for a in again]
    assert uids[0] == uids[1]
    other = objects(result.save(tmp_path / "c", outputs=Outputs(kvp=100)))
    first = other["sct/CT.0001.dcm"]
    assert first.SeriesInstanceUID != again[0]["sct/CT.0001.dcm"].SeriesInstanceUID


def test_all_that_is_measured_lies_on_the_resampled_grid(result, tmp_path):
    wanted = replace(EVERYTHING, spacing=1.5)
    folder = result.save(tmp_path / "out", outputs=wanted)
    made = objects(folder)
    for name in ("sct/CT.0001.dcm", "std/STD.0001.dcm", "std.dcm"):
        assert (made[name].Rows, made[name].Columns) == (32, 32)
    origin = made["std.dcm"].PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    assert origin.SourceImageSequence[0].SpatialLocationsPreserved == "NO"
    assert "113085" in str(made["std/STD.0001.dcm"].DerivationCodeSequence)
    told = json.loads((folder / "run.json").read_text())["input"]
    assert (told["rows"], told["columns"]) == SHAPE[1:]


def test_what_was_put_into_every_element_of_the_source_is_seen_without_deidentification(
    watched, tmp_path
):
    assert canaries.found(watched.save(tmp_path / "out", outputs=EVERYTHING))


@pytest.mark.parametrize(("contour", "spacing"), [("rtstruct", None), ("seg", 1.5)])
def test_nothing_of_any_element_is_in_a_deidentified_file(watched, tmp_path, contour, spacing):
    wanted = replace(EVERYTHING, contour=contour, spacing=spacing, deidentify=True)
    folder = watched.save(tmp_path / "out", outputs=wanted)
    assert canaries.found(folder) == []
    made = objects(folder)
    assert len({image.PatientID for image in made.values()}) == 1
    for image in made.values():
        assert image.PatientIdentityRemoved == "YES"
        codes = [item.CodeValue for item in image.DeidentificationMethodCodeSequence]
        assert codes == ["113100", "113105"]
        assert not image.StudyDate
        dates = [e.value for e in image.iterall() if e.VR in {"DA", "DT"} and e.value]
        assert set(dates) <= {"19000101"}


def test_deidentified_objects_still_belong_together_and_to_no_other_run(result, tmp_path):
    runs = [
        objects(result.save(tmp_path / name, outputs=replace(EVERYTHING, deidentify=True)))
        for name in "ab"
    ]
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        values = [{image.get(keyword) for image in made.values()} - {None} for made in runs]
        assert [len(v) for v in values] == [1, 1]
        assert values[0] != values[1]
        assert result.source.headers[0][keyword].value not in values[0] | values[1]
    first = runs[0]
    references = [
        image.SourceImageSequence[0].ReferencedSOPInstanceUID
        for image in first.values()
        if "RescaleSlope" in image
    ]
    assert len(references) == 2 * SHAPE[0]
    assert len(set(references)) == SHAPE[0]
    assert np.array_equal(
        first["sct/CT.0003.dcm"].pixel_array, runs[1]["sct/CT.0003.dcm"].pixel_array
    )


def test_a_warning_that_names_the_series_no_longer_does(result, tmp_path):
    warned = replace(result, warnings=(f"{result.source}: odd",))
    wanted = Outputs(deidentify=True)
    folder = warned.save(tmp_path / "out", outputs=wanted)
    told = json.loads((folder / "run.json").read_text())
    assert told["warnings"] == ["the series: odd"]
    assert told["finished"] is None


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"kvp": 0}, "a tube voltage in kV such as 120, not 0"),
        ({"spacing": -1.0}, "above 0, not -1"),
        ({"spacing": float("nan")}, "above 0, not nan"),
        ({"contour": "mesh"}, "rtstruct or seg, not 'mesh'"),
    ],
)
def test_outputs_that_make_no_sense_are_refused(wanted, message):
    with pytest.raises(UsageError, match=message):
        Outputs(**wanted)


def test_a_spacing_that_does_not_suit_the_study_is_refused_before_sampling(result):
    with pytest.raises(UsageError, match="pixels of slices of 48 x 48 mm"):
        Outputs(spacing=100).bytes_needed(result.source.volume.grid)


def test_the_room_needed_covers_what_is_written(result, tmp_path):
    wanted = replace(EVERYTHING, spacing=0.4)
    folder = result.save(tmp_path / "out", outputs=wanted)
    taken = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert taken < wanted.bytes_needed(result.source.volume.grid)
