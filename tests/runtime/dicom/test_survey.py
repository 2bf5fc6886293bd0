from dicom_study import make_grid, write_series

from mrct_runtime.dicom import read_study
from mrct_runtime.dicom.survey import survey
from mrct_runtime.errors import MrctError, NoInputError, SeriesError

GRID = make_grid((6, 12, 16), (3.0, 1.0, 1.25), (12, -4, 2))


def outcome(read):
    try:
        return read()
    except MrctError as error:
        return error


def test_a_survey_ends_as_a_translation_would(tmp_path):
    write_series(tmp_path / "right", GRID)
    write_series(tmp_path / "t1", GRID, description="t1", elements={"EchoTime": "9"})
    write_series(tmp_path / "gap", GRID, skip=(2,))
    write_series(tmp_path / "ct", GRID, modality="CT")
    for number in (4, 5):
        write_series(tmp_path / "tie" / str(number), GRID, number=number)
    for folder in ("right", "t1", "gap", "ct", "tie"):
        found = survey(tmp_path / folder)
        read = outcome(lambda folder=folder: read_study(tmp_path / folder))
        if folder == "right":
            assert (found.used, found.error) == ("4", None)
            assert f"series 4 't2_tse_tra': {found.why}" == read.reason
        else:
            assert found.used is None
            assert (type(found.error), str(found.error)) == (type(read), str(read))


def test_geometry_that_is_no_grid_is_the_fault_of_its_stack(tmp_path):
    write_series(tmp_path / "4", GRID)
    write_series(tmp_path / "5", GRID, number=5, description="gap", skip=(2,))
    found = survey(tmp_path, series="4")
    right, wrong = found.stacks
    assert (right.fault, right.spacing_mm) == ("", (3.0, 1.0, 1.25))
    assert wrong.fault.startswith("1 slice is missing, at (")
    assert wrong.spacing_mm is None
    assert isinstance(survey(tmp_path, series="5").error, SeriesError)


def test_a_named_stack_that_is_not_there_is_told(tmp_path):
    write_series(tmp_path, GRID)
    found = survey(tmp_path, series="9")
    assert "no MR series '9'" in str(found.error)


def test_files_that_belong_to_no_series_refuse_the_study(tmp_path):
    write_series(tmp_path, GRID, elements={"SeriesInstanceUID": None})
    found = survey(tmp_path)
    assert found.stacks == ()
    assert found.unusable == {"damaged, it lacks SeriesInstanceUID": 6}
    assert not isinstance(found.error, NoInputError)
