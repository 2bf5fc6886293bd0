import numpy as np
import pytest
from dicom_study import CANARY, FRAME_UID, make_grid, make_signal, write_series
from pydicom import dcmread, dcmwrite

from mrct_runtime.dicom import read_pair, read_study
from mrct_runtime.errors import InputRejectedError, MrctError, NoInputError, SeriesError

GRID = make_grid((8, 12, 16), (3.0, 1.0, 1.25), (12, -4, 2))


def test_slices_come_in_order_with_their_signal(tmp_path):
    stored = make_signal(GRID)
    write_series(tmp_path, GRID, stored)
    series = read_study(tmp_path)
    assert series.volume.array.dtype == np.float32
    np.testing.assert_array_equal(series.volume.array, stored)
    np.testing.assert_allclose(series.volume.grid.affine, GRID.affine, atol=1e-5)
    assert series.frame_of_reference_uid == FRAME_UID
    assert series.notes == ()
    for index, header in enumerate(series.headers):
        np.testing.assert_allclose(
            np.asarray(header.ImagePositionPatient, float), GRID.world((index, 0, 0)), atol=1e-5
        )


def test_a_real_study_is_read_as_its_files_say(shared_data):
    series = read_study(shared_data / "prostatex_mr_dicom" / "ProstateX")
    assert series.volume.array.shape == (19, 384, 384)
    assert series.reason.startswith("series 4 't2_tse_tra': score 8.38")
    paths = {
        dcmread(path, stop_before_pixels=True).SOPInstanceUID: path
        for path in (shared_data / "prostatex_mr_dicom" / "ProstateX").rglob("4.*/*.dcm")
    }
    for index in (0, 9, 18):
        image = dcmread(paths[series.headers[index].SOPInstanceUID])
        np.testing.assert_array_equal(series.volume.array[index], image.pixel_array)
    z = [float(header.ImagePositionPatient[2]) for header in series.headers]
    assert z == sorted(z)


def test_each_slice_has_its_own_rescaling(tmp_path):
    def rescale(index, image):
        image.RescaleSlope, image.RescaleIntercept = str(1 + index), str(-10 * index)

    stored = make_signal(GRID)
    write_series(tmp_path, GRID, stored, per_slice=rescale)
    factor = np.arange(8, dtype=np.float32)[:, None, None]
    np.testing.assert_allclose(
        read_study(tmp_path).volume.array, stored * (1 + factor) - 10 * factor, rtol=1e-6
    )


def test_signed_and_big_endian_pixels_are_the_same_numbers(tmp_path):
    stored = make_signal(GRID)
    write_series(tmp_path / "big", GRID, stored, big_endian=True)
    write_series(tmp_path / "signed", GRID, stored.astype(np.int16) - 2000)
    big, signed = read_study(tmp_path / "big"), read_study(tmp_path / "signed")
    assert big.volume.array.dtype.isnative
    np.testing.assert_array_equal(big.volume.array, stored)
    np.testing.assert_array_equal(signed.volume.array, stored.astype(np.float32) - 2000)


def test_run_length_compression_needs_no_extra(tmp_path):
    stored = make_signal(GRID)
    for path in write_series(tmp_path, GRID, stored):
        image = dcmread(path)
        image.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
        dcmwrite(path, image)
    np.testing.assert_array_equal(read_study(tmp_path).volume.array, stored)


def test_a_missing_frame_of_reference_is_made_and_noted(tmp_path):
    write_series(tmp_path, GRID, elements={"FrameOfReferenceUID": None})
    series = read_study(tmp_path)
    assert series.frame_of_reference_uid.startswith("2.25.")
    assert "no FrameOfReferenceUID" in series.notes[0]


def test_two_frames_of_reference_are_refused(tmp_path):
    def moved(index, image):
        image.FrameOfReferenceUID = "1.2.3" if index else "1.2.4"

    write_series(tmp_path, GRID, per_slice=moved)
    with pytest.raises(SeriesError, match="2 frames of reference"):
        read_study(tmp_path)


def test_two_patients_in_one_series_are_refused(tmp_path):
    def mixed_up(index, image):
        image.PatientID = f"{CANARY}-{index // 5}"

    write_series(tmp_path, GRID, per_slice=mixed_up)
    with pytest.raises(SeriesError, match="more than one PatientID") as refused:
        read_study(tmp_path)
    assert CANARY not in str(refused.value)


def test_pixels_cut_short_are_noticed(tmp_path):
    paths = write_series(tmp_path, GRID)
    paths[2].write_bytes(paths[2].read_bytes()[:-40])
    with pytest.raises(InputRejectedError, match="truncated, it has 344 of 384 bytes of pixels"):
        read_study(tmp_path)


def test_a_lost_last_slice_is_noticed_though_it_leaves_no_gap(tmp_path):
    def lose_the_last(index, image):
        if index == 7:
            del image.ImagePositionPatient

    write_series(tmp_path, GRID, per_slice=lose_the_last)
    with pytest.raises(InputRejectedError, match=r"1 image file .* without position"):
        read_study(tmp_path)


@pytest.mark.parametrize("kept", [0, 100, 134])
@pytest.mark.parametrize("place", [0, 7])
def test_a_first_or_last_file_cut_to_nothing_is_refused(tmp_path, kept, place):
    z = GRID.world((place, 0, 0))
    for path in write_series(tmp_path, GRID):
        if np.allclose(dcmread(path).ImagePositionPatient, z, atol=1e-3):
            path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputRejectedError, match=r"1 image file .* damaged"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    "elements",
    [
        {"Rows": [12, 12]},
        {"FrameOfReferenceUID": ["1.2.3", "1.2.4"]},
        {"StudyInstanceUID": "1.2.x"},
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_malformed_headers_are_refused(tmp_path, elements):
    write_series(tmp_path, GRID, elements=elements)
    with pytest.raises(InputRejectedError, match="8 image files"):
        read_study(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_last_slice_of_an_invalid_series_is_noticed(tmp_path):
    def rename_the_last(index, image):
        if index == 7:
            image.SeriesInstanceUID = "1.2.x"

    write_series(tmp_path, GRID, per_slice=rename_the_last)
    with pytest.raises(InputRejectedError, match="SeriesInstanceUID that is no UID"):
        read_study(tmp_path)


def test_damage_in_another_series_does_not_matter(tmp_path):
    write_series(tmp_path / "4", GRID)
    write_series(tmp_path / "9", GRID, number=9, elements={"PixelSpacing": None})
    assert read_study(tmp_path).number == 4


def test_a_stack_of_another_plane_is_read_where_it_is_named_and_its_cuts_are_told(shared_data):
    folder = shared_data / "prostatex_mr_dicom" / "ProstateX"
    series = read_study(folder, series="3")
    (note,) = series.notes
    assert note == (
        "the series is sagittal: its axial cuts are translated, 320 of 320 x 19 pixels of "
        "0.562 x 3.6 mm, 0.562 mm apart"
    )
    assert series.volume.canonical().grid.shape == (320, 320, 19)
    assert read_study(folder, series="4").notes == ()


def test_two_studies_in_one_folder_are_not_mixed(tmp_path):
    uids = ("1.2.3", "1.2.4")
    for k, uid in enumerate(uids):
        write_series(tmp_path / str(k), GRID, number=k, elements={"StudyInstanceUID": uid})
    with pytest.raises(
        SeriesError, match=r"2 MR studies in one folder, of the UIDs 1\.2\.3, 1\.2\.4"
    ):
        read_study(tmp_path)
    assert read_study(tmp_path, series="1").number == 1


def test_of_many_studies_in_one_folder_a_few_are_named(tmp_path):
    for k in range(5):
        elements = {"StudyInstanceUID": f"1.2.{k}", "SeriesInstanceUID": f"1.3.{k}"}
        write_series(tmp_path / str(k), GRID, elements=elements)
    with pytest.raises(SeriesError, match=r"of the UIDs 1\.2\.0, 1\.2\.1, 1\.2\.2 and 2 more"):
        read_study(tmp_path)


def test_a_missing_slice_of_a_real_study_is_refused(shared_data, tmp_path):
    (folder,) = (shared_data / "prostatex_mr_dicom" / "ProstateX").rglob("4.*")
    for number, path in enumerate(sorted(folder.glob("*.dcm"))):
        if number != 6:
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(SeriesError, match="series 4 't2_tse_tra': 1 slice is missing"):
        read_study(tmp_path)


def test_no_message_carries_patient_data(tmp_path):
    def damage(index, image):
        if index == 2:
            image.RescaleSlope = "1"
            image.ImagePositionPatient = ["0", "0", "999"]

    write_series(tmp_path / "uneven", GRID, per_slice=damage)
    write_series(tmp_path / "ct", GRID, modality="CT")
    write_series(tmp_path / "sagittal", make_grid((8, 12, 16), angles=(0, 90, 0)))
    for folder in ("uneven", "ct", "sagittal", "absent"):
        with pytest.raises(MrctError) as caught:
            read_study(tmp_path / folder)
        assert CANARY not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.fixture
def pair(tmp_path):
    hu = np.random.default_rng(2).integers(-1024, 3072, GRID.shape)
    write_series(tmp_path / "mr", GRID)
    write_series(
        tmp_path / "ct",
        GRID,
        (hu + 1024).astype(np.uint16),
        modality="CT",
        number=7,
        description="ct",
    )
    return tmp_path, hu


def test_a_pair_is_an_mr_and_a_ct_in_hu_on_one_grid(pair):
    folder, hu = pair
    mr, ct = read_pair(folder)
    assert (mr.modality, ct.modality) == ("MR", "CT")
    assert mr.frame_of_reference_uid == ct.frame_of_reference_uid
    assert mr.volume.grid.matches(ct.volume.grid)
    np.testing.assert_array_equal(ct.volume.array, hu)


def test_a_synthetic_ct_is_no_training_target(pair):
    folder, _ = pair
    write_series(folder / "sct", GRID, modality="CT", number=8, elements={"SyntheticData": "YES"})
    assert read_pair(folder)[1].number == 7


def test_a_pair_needs_a_ct_in_the_frame_of_reference(tmp_path):
    write_series(tmp_path / "mr", GRID)
    elements = {"FrameOfReferenceUID": "1.2.3"}
    write_series(tmp_path / "ct", GRID, modality="CT", description="planning", elements=elements)
    with pytest.raises(SeriesError, match=r"no CT series shares .* found series 4 'planning'"):
        read_pair(tmp_path)


def test_of_two_cts_the_one_on_the_grid_is_taken_and_of_two_there_the_deformed_one(pair):
    folder, _ = pair
    other = make_grid((8, 12, 16), (3.0, 1.0, 1.25))
    write_series(folder / "own", other, modality="CT", number=8, description="on its own grid")
    assert read_pair(folder)[1].number == 7
    write_series(folder / "second", GRID, modality="CT", number=9, description="again")
    with pytest.raises(
        SeriesError, match=r"3 CT series share .* 2 of them lie on its grid.*'again'"
    ):
        read_pair(folder)
    description = "Deformed 'CT 1' using CTtoMR DIR"
    write_series(folder / "deformed", GRID, modality="CT", number=10, description=description)
    assert read_pair(folder)[1].number == 10


def test_a_ct_with_irregular_slices_lies_on_no_grid(pair):
    folder, _ = pair
    write_series(folder / "gap", GRID, modality="CT", number=8, description="gap", skip=(2,))
    assert read_pair(folder)[1].number == 7


def test_a_pair_needs_one_grid(tmp_path):
    write_series(tmp_path / "mr", GRID)
    write_series(tmp_path / "ct", make_grid((8, 12, 16), (3.0, 1.0, 1.25)), modality="CT", number=7)
    with pytest.raises(SeriesError, match=r"mm apart; resample the CT to the MR's slices"):
        read_pair(tmp_path)


def test_a_folder_without_mr_is_no_input(shared_data):
    with pytest.raises(NoInputError, match="no MR series"):
        read_study(shared_data / "pelvis_ct_umcu_dicom")
