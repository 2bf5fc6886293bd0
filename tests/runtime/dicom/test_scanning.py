import shutil

import pytest
from dicom_study import CANARY, make_grid, write_series
from pydicom import dcmread, dcmwrite
from pydicom.uid import EnhancedMRImageStorage, SecondaryCaptureImageStorage

from mrct_runtime.dicom import scan
from mrct_runtime.dicom.reading import read_study
from mrct_runtime.errors import InputRejectedError, NoInputError

GRID = make_grid((4, 8, 10))


def test_a_real_study_is_nine_stacks_of_known_sizes(shared_data):
    groups = scan(shared_data / "prostatex_mr_dicom" / "ProstateX").groups
    sizes = {group.name: len(group.headers) for group in groups}
    diffusion = {f"6:{k}": 19 for k in (1, 2, 3)}
    assert sizes == {"3": 19, "4": 19, "5": 15, **diffusion, "7": 19, "8": 19, "9": 16}
    planes = {group.number: group.plane for group in groups}
    assert (planes[3], planes[4], planes[5]) == ("sagittal", "axial", "coronal")
    assert next(g for g in groups if g.number == 4).tilt_deg == pytest.approx(18.49, abs=0.01)


def test_headers_are_read_without_pixels(tmp_path):
    write_series(tmp_path, GRID)
    (group,) = scan(tmp_path).groups
    assert all("PixelData" not in header for header in group.headers)


def test_files_that_are_not_dicom_and_objects_that_are_no_images_are_passed_over(tmp_path):
    paths = write_series(tmp_path / "a" / "b", GRID)
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / "short").write_bytes(b"\0" * 40)
    capture = dcmread(paths[0])
    capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dcmwrite(tmp_path / "capture.dcm", capture)
    found = scan(tmp_path)
    assert [len(group.headers) for group in found.groups] == [4]
    assert found.unusable == ()
    assert found.others == {"Secondary Capture Image Storage": 1}


def test_a_copy_of_a_file_is_no_second_slice(tmp_path):
    paths = write_series(tmp_path, GRID)
    shutil.copy(paths[0], tmp_path / "copy.dcm")
    (group,) = scan(tmp_path).groups
    assert len(group.headers) == 4


def test_another_slice_under_the_uid_of_one_is_no_copy(tmp_path):
    def without_a_uid_of_its_own(index, image):
        if index >= 2:
            image.SOPInstanceUID = "1.2.3"

    # the last slice would be lost, and leave no gap
    write_series(tmp_path, GRID, per_slice=without_a_uid_of_its_own)
    found = scan(tmp_path)
    assert [u.reason for u in found.unusable] == ["another image under the same UID"]
    with pytest.raises(InputRejectedError, match="another image under the same UID"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("EchoTime", "20"),
        ("ImageOrientationPatient", ["0", "1", "0", "0", "0", "-1"]),
        ("PixelSpacing", ["1", "1"]),
    ],
)
def test_one_series_uid_may_hold_several_stacks(tmp_path, keyword, value):
    def second_half(index, image):
        if index >= 2:
            setattr(image, keyword, value)

    write_series(tmp_path, GRID, per_slice=second_half)
    assert [len(group.headers) for group in scan(tmp_path).groups] == [2, 2]


def test_rounded_orientations_are_one_stack(tmp_path):
    def jitter(index, image):
        image.ImageOrientationPatient = ["1", "0", "0", "0", f"{1 - index * 1e-7:.9f}", "0.0005"]

    write_series(tmp_path, GRID, per_slice=jitter)
    assert len(scan(tmp_path).groups) == 1


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"ImagePositionPatient": None}, "without position"),
        ({"PixelSpacing": None}, "without position"),
        ({"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]}, "is none"),
        ({"NumberOfFrames": "3"}, "multi-frame"),
        ({"SOPClassUID": EnhancedMRImageStorage}, "frames are not described"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "a negative"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"StudyInstanceUID": None}, "lacks StudyInstanceUID"),
        ({"Rows": 60000, "Columns": 60000}, "60000 x 60000"),
        ({"Rows": [8, 8]}, "not one whole number"),
        ({"FrameOfReferenceUID": ["1.2.3", "1.2.4"]}, "FrameOfReferenceUID that is no UID"),
    ],
)
def test_images_that_cannot_be_slices_are_named_with_the_reason(tmp_path, elements, reason):
    write_series(tmp_path, GRID, elements=elements)
    found = scan(tmp_path)
    assert found.groups == ()
    assert len(found.unusable) == 4
    assert all(reason in unusable.reason for unusable in found.unusable)


@pytest.mark.parametrize(
    "keyword",
    ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"],
)
@pytest.mark.parametrize("value", [f"1.2.{CANARY}", "1." * 32 + "1", "1..2"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_images_with_an_invalid_uid_are_named(tmp_path, keyword, value):
    def damage(index, image):
        image[keyword]._value = value

    write_series(tmp_path, GRID, per_slice=damage)
    found = scan(tmp_path)
    assert found.groups == ()
    assert {u.reason for u in found.unusable} == {f"with a {keyword} that is no UID"}


@pytest.mark.parametrize("kept", [0, 100, 131, 132, 134, 200, 300, 600])
def test_a_truncated_header_is_noticed(tmp_path, kept):
    paths = write_series(tmp_path, GRID)
    paths[0].write_bytes(paths[0].read_bytes()[:kept])
    found = scan(tmp_path)
    assert [u.name for u in found.unusable] == [paths[0].name]
    assert "damaged" in found.unusable[0].reason


@pytest.mark.parametrize("name", ["IM{}", "1.2.3.{}", "MR.{}.IMA"])
@pytest.mark.parametrize("kept", [0, 100, 134])
def test_a_truncated_file_is_known_by_its_siblings_names(tmp_path, name, kept):
    paths = [
        path.rename(tmp_path / name.format(number))
        for number, path in enumerate(write_series(tmp_path, GRID), start=9)
    ]
    (tmp_path / "README").write_text("no DICOM")
    (tmp_path / "IM9.jpg").write_bytes(b"no DICOM")
    paths[-1].write_bytes(paths[-1].read_bytes()[:kept])
    assert [u.name for u in scan(tmp_path).unusable] == [paths[-1].name]


def test_what_macos_leaves_beside_files_is_passed_over(tmp_path):
    for path in write_series(tmp_path, GRID):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
    assert scan(tmp_path).unusable == ()


def test_deflated_files_are_not_inflated(tmp_path):
    paths = write_series(tmp_path, GRID)
    image = dcmread(paths[0])
    image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    dcmwrite(paths[0], image)
    assert "deflated" in scan(tmp_path).unusable[0].reason


@pytest.mark.parametrize("content", ["absent", "empty", "no DICOM", "a file"])
def test_a_folder_without_dicom_is_no_input(tmp_path, content):
    folder = tmp_path / "study"
    if content != "absent":
        folder.mkdir()
    if content == "no DICOM":
        (folder / "a.txt").write_text("a")
    if content == "a file":
        folder = folder / "a.dcm"
        folder.write_bytes(b"")
    with pytest.raises(NoInputError, match="name the folder of a DICOM study"):
        scan(folder)


def test_a_series_is_named_without_patient_data(tmp_path):
    write_series(tmp_path, GRID)
    (group,) = scan(tmp_path).groups
    assert str(group) == "series 4 't2_tse_tra'"
    assert CANARY not in repr([str(group), group.uid, group.plane])
