import warnings

import highdicom
import numpy as np
import pytest
from dicom_study import make_grid, write_series
from pydicom import dcmread, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from mrct_runtime.dicom import pixels, read_pair, read_series, read_study, scan
from mrct_runtime.dicom.frames import frame_number, instance_name
from mrct_runtime.errors import InputRejectedError

SIEMENS = "siemens_xa30_enhanced_mr_dicom"
PHILIPS = "philips_classic_and_enhanced_dicom/enhanced"
VENDORS = "vendor_small_and_compressed_dicom"


def only_file(shared_data, pattern):
    (path,) = shared_data.glob(pattern)
    return path


def alone(path, folder):
    (folder / "study").mkdir()
    (folder / "study" / path.name).symlink_to(path)
    return folder / "study"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "pattern",
    [
        f"{SIEMENS}/5_anat-T1w_acq-tfl/*",
        f"{SIEMENS}/8_gre_field_mapping/0001*",
        f"{SIEMENS}/8_gre_field_mapping/0002*",
        f"{PHILIPS}/1901_WIP_3DpCASL_real.dcm",
    ],
)
def test_what_highdicom_opens_is_read_as_by_highdicom(shared_data, tmp_path, pattern):
    path = only_file(shared_data, pattern)
    (group,) = scan(alone(path, tmp_path)).groups
    ours = read_series(group).volume
    theirs = highdicom.imread(path).get_volume(apply_real_world_transform=False)
    assert sorted(theirs.spatial_shape) == sorted(ours.grid.shape)
    # both as they lie in the patient: highdicom counts slices from the other end
    index = np.rint(
        theirs.map_reference_to_indices(ours.grid.world([(0, 0, 0), (1, 0, 0)]))
    ).astype(int)
    step = int(index[1, 0] - index[0, 0])
    assert abs(step) == 1
    assert ours.array.shape == theirs.array[::step].shape
    # highdicom rescales in float64: equal to one rounding of float32
    np.testing.assert_allclose(ours.array, theirs.array[::step], rtol=2e-7)
    corners = np.array([(s, r, c) for s in (0, 1) for r in (0, 1) for c in (0, 1)]) * (
        np.array(ours.grid.shape) - 1
    )
    flipped = corners.copy()
    if step < 0:
        flipped[:, 0] = ours.grid.shape[0] - 1 - flipped[:, 0]
    expected = theirs.map_indices_to_reference(flipped)
    np.testing.assert_allclose(ours.grid.world(corners), expected, atol=1e-4)


def test_magnitude_and_phase_of_two_echoes_are_four_stacks_though_highdicom_fails(shared_data):
    found = [g for g in scan(shared_data / PHILIPS).groups if g.number == 2001]
    assert [(group.name, group.part, len(group.headers)) for group in found] == [
        ("2001:1", "TE 2.3 ms, MAGNITUDE", 53),
        ("2001:2", "TE 2.3 ms, PHASE", 53),
        ("2001:3", "TE 4.6 ms, MAGNITUDE", 53),
        ("2001:4", "TE 4.6 ms, PHASE", 53),
    ]
    path = only_file(shared_data, f"{PHILIPS}/2001*")
    image = dcmread(path)
    assert image.NumberOfFrames == 4 * 53
    seen = set()
    for group in found:
        series = read_series(group)
        assert series.volume.grid.shape == (53, 80, 80)
        for k, header in enumerate(series.headers):
            number = frame_number(header)
            seen.add(number)
            frame = image.PerFrameFunctionalGroupsSequence[number - 1]
            place = frame.PlanePositionSequence[0].ImagePositionPatient
            assert header.ImagePositionPatient == place
            np.testing.assert_allclose(series.volume.grid.world((k, 0, 0)), place, atol=1e-4)
            scale = frame.PixelValueTransformationSequence[0]
            expected = image.pixel_array[number - 1] * np.float32(scale.RescaleSlope)
            expected = expected + np.float32(scale.RescaleIntercept)
            np.testing.assert_allclose(series.volume.array[k], expected, rtol=1e-6)
            assert header.SOPInstanceUID == image.SOPInstanceUID
            assert instance_name(header) == f"{image.SOPInstanceUID} frame {number}"
    assert seen == set(range(1, 213))


def test_a_frame_is_as_a_classic_image_would_be(shared_data):
    group = next(g for g in scan(shared_data / SIEMENS).groups if g.number == 5)
    header, image = group.headers[10], dcmread(group.files[10])
    shared = image.SharedFunctionalGroupsSequence[0]
    frame = image.PerFrameFunctionalGroupsSequence[10]
    assert header.EchoTime == frame.MREchoSequence[0].EffectiveEchoTime
    timing = shared.MRTimingAndRelatedParametersSequence[0]
    assert header.RepetitionTime == timing.RepetitionTime == 1800
    assert header.InversionTime == 900
    assert header.ScanningSequence == ["GR", "IR"]
    assert header.ImageType == frame.MRImageFrameTypeSequence[0].FrameType
    moment = frame.FrameContentSequence[0].FrameAcquisitionDateTime
    assert header.AcquisitionDate + header.AcquisitionTime == moment
    assert header.PixelSpacing == frame.PixelMeasuresSequence[0].PixelSpacing
    # to the digit, for what is written lies on the same place
    place = frame.PlanePositionSequence[0].ImagePositionPatient
    assert [x.original_string for x in header.ImagePositionPatient] == [
        x.original_string for x in place
    ]
    assert header.PatientPosition == "HFS"
    assert "PerFrameFunctionalGroupsSequence" not in header


@pytest.mark.parametrize(
    ("vendor", "shape", "plane"),
    [
        ("hyperfine", (8, 138, 112), "axial"),
        ("philips_enhanced", (8, 256, 256), "sagittal"),
        ("siemens_multiframe", (8, 256, 256), "axial"),
    ],
)
def test_frames_without_frame_of_reference_or_shared_groups_are_read(
    shared_data, vendor, shape, plane
):
    (group,) = scan(shared_data / VENDORS / vendor).groups
    series = read_series(group)
    assert (series.volume.grid.shape, group.plane) == (shape, plane)
    assert "no FrameOfReferenceUID" in series.notes[0]
    image = dcmread(group.files[0])
    frames = image.PerFrameFunctionalGroupsSequence
    for header, stored in zip(series.headers, series.volume.array, strict=True):
        k = frame_number(header) - 1
        slope = float(header.get("RescaleSlope", 1))
        np.testing.assert_allclose(stored, image.pixel_array[k] * slope, rtol=1e-6)
        assert (
            header.ImagePositionPatient == frames[k].PlanePositionSequence[0].ImagePositionPatient
        )


@pytest.fixture
def converted(shared_data, tmp_path):
    """The axial T2w of a real study, its 19 images converted to frames of one by highdicom; and the study itself."""
    study = shared_data / "prostatex_mr_dicom" / "ProstateX"
    images = [dcmread(path) for path in sorted(study.rglob("4.*/*.dcm"))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = highdicom.legacy.LegacyConvertedEnhancedMRImage(
            images,
            series_instance_uid=generate_uid(),
            series_number=4,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
    (tmp_path / "converted").mkdir()
    image.save_as(tmp_path / "converted" / "legacy.dcm", enforce_file_format=True)
    return tmp_path / "converted", study


def test_a_legacy_conversion_is_read_as_its_classic_images(converted):
    folder, study = converted
    classic, frames = read_study(study), read_study(folder)
    np.testing.assert_array_equal(frames.volume.array, classic.volume.array)
    np.testing.assert_array_equal(frames.volume.grid.affine, classic.volume.grid.affine)
    assert frames.frame_of_reference_uid == classic.frame_of_reference_uid
    assert [header.EchoTime for header in frames.headers] == [104] * 19


def test_a_ct_of_frames_is_paired_with_its_mr(tmp_path):
    grid = make_grid((5, 8, 10), (3.0, 1.0, 1.25), (12, -4, 2))
    hu = np.random.default_rng(2).integers(-1024, 3072, grid.shape)
    write_series(tmp_path / "mr", grid)
    classic = write_series(
        tmp_path / "ct", grid, (hu + 1024).astype(np.uint16), modality="CT", number=7
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = highdicom.legacy.LegacyConvertedEnhancedCTImage(
            [dcmread(path) for path in classic],
            series_instance_uid=generate_uid(),
            series_number=7,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
    for path in classic:
        path.unlink()
    image.save_as(tmp_path / "ct" / "frames.dcm", enforce_file_format=True)
    _, ct = read_pair(tmp_path)
    np.testing.assert_array_equal(ct.volume.array, hu)


def test_a_file_is_opened_once_for_all_its_frames(converted, monkeypatch):
    opened = []
    real = pixels.iter_pixels

    def counting(path, **options):
        opened.append(path.name)
        return real(path, **options)

    monkeypatch.setattr(pixels, "iter_pixels", counting)
    read_study(converted[0])
    assert opened == ["legacy.dcm"]


def damaged(folder, change):
    path = folder / "legacy.dcm"
    image = dcmread(path)
    change(image)
    dcmwrite(path, image)
    return folder


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda image: setattr(image, "NumberOfFrames", 18), "frames are not described"),
        (lambda image: setattr(image, "NumberOfFrames", 2**31 - 1), "more than can be held"),
        (lambda image: image.__delitem__("PerFrameFunctionalGroupsSequence"), "not described"),
        (
            lambda image: image.PerFrameFunctionalGroupsSequence[6].__delitem__(
                "PlanePositionSequence"
            ),
            "without position, orientation or pixel spacing in frame 7",
        ),
        (lambda image: setattr(image, "SamplesPerPixel", 3), "a colour picture"),
    ],
)
def test_frames_that_cannot_be_slices_are_named_with_the_reason(converted, change, reason):
    found = scan(damaged(converted[0], change))
    assert found.groups == ()
    (unusable,) = found.unusable
    assert unusable.reason.endswith(reason)


def test_frames_cut_short_are_noticed(converted):
    path = converted[0] / "legacy.dcm"
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(InputRejectedError, match=r"truncated, it has \d+ of \d+ bytes of pixels"):
        read_study(converted[0])


def test_the_frames_of_a_concatenation_are_one_stack(converted):
    whole = read_study(converted[0])
    path = converted[0] / "legacy.dcm"
    for part, frames in enumerate((slice(0, 9), slice(9, 19))):
        image = dcmread(path)
        stored = image.pixel_array[frames]
        image.PerFrameFunctionalGroupsSequence = image.PerFrameFunctionalGroupsSequence[frames]
        image.NumberOfFrames = len(stored)
        image.PixelData = stored.tobytes()
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.InConcatenationNumber = part + 1
        dcmwrite(path.with_name(f"part{part}.dcm"), image)
    path.unlink()
    np.testing.assert_array_equal(read_study(converted[0]).volume.array, whole.volume.array)
