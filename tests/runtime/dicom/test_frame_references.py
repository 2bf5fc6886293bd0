import highdicom
import numpy as np
import pytest
from dicom_study import run_program
from pydicom import Dataset, dcmread

from mrct_runtime.dicom import (
    Derivation,
    read_series,
    scan,
    write_ct_series,
    write_parametric_map,
)
from mrct_runtime.dicom.frame_references import refer_to_frames
from mrct_runtime.volume import Volume

DERIVATION = Derivation("1.2.3", "pelvis", "ab" * 32, "em, 500 steps", mc=(10, 10), seed=7)
# The tag is younger than the dictionary of dicom3tools 2022; PS3.3 has it in the SOP Common module.
YOUNGER_THAN_DCIODVFY = "(0x0008,0x001c)"


@pytest.fixture(
    params=[
        ("siemens_xa30_enhanced_mr_dicom", 8),
        ("philips_classic_and_enhanced_dicom/enhanced", 2001),
    ],
    ids=["siemens", "philips"],
)
def written(request, shared_data, tmp_path):
    """The last stack of a multi-frame series, the file that it is in, and a synthetic CT and a map made of it."""
    study, number = request.param
    group = [g for g in scan(shared_data / study).groups if g.number == number][-1]
    source = read_series(group)
    rng = np.random.default_rng(3)
    hu = Volume(
        rng.uniform(-900, 900, source.volume.grid.shape).astype(np.float32), source.volume.grid
    )
    (tmp_path / "sct").mkdir()
    ct = write_ct_series(hu, source, tmp_path / "sct", DERIVATION)
    std = Volume(np.abs(hu.array), hu.grid)
    write_parametric_map(std, source, tmp_path / "std.dcm", DERIVATION)
    return dcmread(group.files[0]), ct, tmp_path / "std.dcm", std


def test_every_slice_refers_to_the_frame_at_its_place(written):
    image, ct, _, _ = written
    frames = []
    for path in ct.files:
        made = dcmread(path)
        (item,) = made.SourceImageSequence
        assert item.ReferencedSOPClassUID == image.SOPClassUID
        assert item.ReferencedSOPInstanceUID == image.SOPInstanceUID
        frames.append(item.ReferencedFrameNumber)
        source = image.PerFrameFunctionalGroupsSequence[item.ReferencedFrameNumber - 1]
        place = source.PlanePositionSequence[0].ImagePositionPatient
        assert made.ImagePositionPatient == place
    assert len(set(frames)) == len(frames)


def test_every_frame_of_the_map_refers_to_the_frame_at_its_place(written):
    image, _, path, _ = written
    made = dcmread(path)
    for frame in made.PerFrameFunctionalGroupsSequence:
        (item,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert item.ReferencedSOPClassUID == image.SOPClassUID
        assert item.ReferencedSOPInstanceUID == image.SOPInstanceUID
        source = image.PerFrameFunctionalGroupsSequence[item.ReferencedFrameNumber - 1]
        place = source.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(
            np.asarray(frame.PlanePositionSequence[0].ImagePositionPatient, float),
            np.asarray(place, float),
            atol=1e-4,
        )
    numbers = [item.ReferencedFrameNumber for item in made.SourceImageSequence]
    assert len(set(numbers)) == made.NumberOfFrames
    (series,) = made.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == image.SeriesInstanceUID
    (instance,) = series.ReferencedInstanceSequence
    assert instance.ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert "ReferencedFrameNumber" not in instance


def test_references_to_anything_else_stay_as_they_are(written):
    image, _, path, _ = written
    made = dcmread(path)
    other = Dataset()
    other.ReferencedSOPClassUID, other.ReferencedSOPInstanceUID = "1.2.3", "1.2.4"
    made.ReferencedSeriesSequence[0].ReferencedInstanceSequence = [other]
    made.SourceImageSequence = [other]
    header = Dataset()
    header.SOPInstanceUID, header.ReferencedFrameNumber = image.SOPInstanceUID, 1
    refer_to_frames(made, [header])
    assert made.ReferencedSeriesSequence[0].ReferencedInstanceSequence == [other]
    assert made.SourceImageSequence == [other]


def test_highdicom_reads_the_map_back(written):
    _, _, path, std = written
    volume = highdicom.imread(path).get_volume(apply_real_world_transform=True)
    for index in [(0, 0, 0), (5, 7, 11), (20, 40, 3)]:
        place = np.linalg.inv(volume.affine) @ (*std.grid.world(index), 1.0)
        np.testing.assert_allclose(place[:3], np.rint(place[:3]), atol=1e-3)
        assert volume.array[tuple(np.rint(place[:3]).astype(int))] == std.array[index]


def test_dciodvfy_finds_no_error(written):
    _, ct, path, _ = written
    for file in (ct.files[0], ct.files[-1], path):
        lines = run_program("dciodvfy", file).splitlines()
        errors = [line for line in lines if line.lstrip().startswith("Error")]
        assert [line for line in errors if YOUNGER_THAN_DCIODVFY not in line] == []
