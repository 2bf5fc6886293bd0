import pytest
from dicom_study import make_grid, write_series
from pydicom import dcmread, dcmwrite

from mrct_runtime.dicom import choose_mr, judge, scan
from mrct_runtime.errors import SeriesError

GRID = make_grid((4, 8, 10))


def test_a_real_series_of_two_numbers_planes_and_echoes_is_two_stacks(shared_data):
    failing = shared_data / "vendor_small_and_compressed_dicom" / "failing"
    groups = scan(failing / "sliceorientation").groups
    assert [(group.name, group.part) for group in groups] == [
        ("202", "number 202, sagittal, 0.32 x 0.32 mm, TE 90 ms"),
        ("501", "number 501, axial, 0.5556 x 0.5556 mm, TE 120 ms"),
    ]
    assert len({group.uid for group in groups}) == 1
    for group in groups:
        assert choose_mr(groups, group.name).group is group
        assert choose_mr(groups, group.names[1]).group is group
    with pytest.raises(
        SeriesError, match=r"holds 2 stacks; name one of them, --series takes 202 \("
    ):
        choose_mr(groups, groups[0].uid)


def test_three_planes_of_real_files_under_one_uid_are_three_stacks_and_none_is_taken(
    shared_data, tmp_path
):
    study = shared_data / "prostatex_mr_dicom" / "ProstateX"
    for number in (3, 4, 5):
        for path in study.rglob(f"{number}.*/*.dcm"):
            image = dcmread(path)
            image.SeriesInstanceUID, image.SeriesNumber = "1.2.3", 1
            image.SeriesDescription = "t2_localizer"
            image.ProtocolName = ""
            dcmwrite(tmp_path / f"{number}-{path.name}", image)
    groups = scan(tmp_path).groups
    assert [(g.name, g.plane, len(g.headers)) for g in groups] == [
        ("1:1", "axial", 19),
        ("1:2", "coronal", 15),
        ("1:3", "sagittal", 19),
    ]
    assert judge(groups[0]).reason == "a localizer"
    with pytest.raises(SeriesError, match="no axial T2-weighted series"):
        choose_mr(groups)


def test_a_description_commands_no_terminal(tmp_path):
    write_series(tmp_path, GRID, description="t2\x1b[2J\ntra")
    (group,) = scan(tmp_path).groups
    assert str(group) == "series 4 't2?[2J?tra'"
