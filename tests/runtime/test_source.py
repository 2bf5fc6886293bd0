import gzip
import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_study import make_grid
from mr_study import write_mr_study
from tiny_bundle import write_tiny_bundle

import mrct_runtime
from mrct_runtime.dicom import read_study
from mrct_runtime.errors import InputRejectedError, NoInputError, UsageError
from mrct_runtime.nifti import LPS_TO_RAS, read_nifti, write_nifti
from mrct_runtime.source import read_source
from mrct_runtime.volume import Volume
from mrct_runtime.volume_files import WRITERS

OBLIQUE = make_grid(angles=(18, -7, 3))


@pytest.fixture
def mr():
    array = np.random.default_rng(0).gamma(2, 100, OBLIQUE.shape).astype(np.float32)
    return Volume(array, OBLIQUE)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return mrct_runtime.load(
        write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny.mrct", size=24)
    )


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha", ".mhd", ".NII.GZ"])
def test_a_file_is_a_series_without_headers(ending, mr, tmp_path):
    path = tmp_path / f"patient-7{ending}"
    if "nii" in ending.lower():
        write_nifti(mr, path)
    else:
        image = sitk.GetImageFromArray(mr.array)
        image.SetSpacing(OBLIQUE.spacing_mm[::-1].tolist())
        image.SetDirection(OBLIQUE.directions[:, ::-1].ravel().tolist())
        image.SetOrigin(OBLIQUE.affine[:3, 3].tolist())
        sitk.WriteImage(image, str(path))
    found = read_source(path)
    np.testing.assert_array_equal(found.volume.array, mr.array)
    assert found.volume.grid.matches(OBLIQUE, tolerance_mm=1e-4)
    assert not found.headers
    assert not found.notes
    assert "patient" not in found.reason


def test_the_noise_is_that_of_the_volume_not_of_its_file(mr, tmp_path):
    write_nifti(mr, tmp_path / "a.nii")
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    write_nifti(Volume(mr.array + 1, mr.grid), tmp_path / "c.nii")
    a, b, c = (read_source(tmp_path / name).uid for name in ("a.nii", "b.nii.gz", "c.nii"))
    assert a == b != c


@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
def test_a_volume_becomes_volumes_in_its_own_format_and_no_dicom(ending, bundle, tmp_path):
    study = write_mr_study(tmp_path / "study")
    source = read_study(study).volume
    WRITERS[ending](source, tmp_path / f"mr{ending}", "")
    options = {"steps": 20}
    of_file = bundle.translate(tmp_path / f"mr{ending}", sampler="em", mc=2, options=options)
    out = of_file.save(tmp_path / "out")
    written = {path.name for path in out.iterdir()}
    assert written == {"preview.png", "preview_slices.png", "report.html", "run.json"} | {
        f"{name}{ending}" for name in ("sct", "sct_std")
    }
    image = sitk.ReadImage(str(out / f"sct{ending}"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), of_file.mean_hu.array)
    content = (out / f"sct{ending}").read_bytes()
    head = gzip.decompress(content)[:348] if "nii" in ending else content[:1000]
    assert b"SYNTHETIC CT - RESEARCH USE ONLY" in head
    corner = [n - 1 for n in reversed(source.grid.shape)]
    last = np.subtract(source.grid.shape, 1)
    np.testing.assert_allclose(
        image.TransformIndexToPhysicalPoint(corner), source.grid.world(last), atol=1e-4
    )
    assert json.loads((out / "run.json").read_text())["input"]["volume_sha256"]


def test_a_study_and_its_nifti_have_the_same_body_of_air_and_tissue(bundle, tmp_path):
    study = write_mr_study(tmp_path / "study")
    write_nifti(read_study(study).volume, tmp_path / "mr.nii.gz")
    results = [
        bundle.translate(path, sampler="em", mc=2, options={"steps": 20})
        for path in (study, tmp_path / "mr.nii.gz")
    ]
    # the noise differs, for it is that of another series
    apart = results[0].mean_hu.array - results[1].mean_hu.array
    assert 0 < np.abs(apart).mean() < 0.3 * results[0].mean_hu.array.std()


def test_a_file_that_cannot_be_translated_is_refused_without_its_name(mr, tmp_path):
    with pytest.raises(NoInputError, match=r"^no such file \(a .nii file\); name a volume"):
        read_source(tmp_path / "patient-7.nii")
    write_nifti(mr, tmp_path / "patient-7.nii")
    with pytest.raises(UsageError, match="holds one volume: leave --series out"):
        read_source(tmp_path / "patient-7.nii", series="3")
    broken = mr.array.copy()
    broken[1, 2, 3] = np.nan
    write_nifti(Volume(broken, mr.grid), tmp_path / "patient-7.nii")
    with pytest.raises(InputRejectedError, match=r"^a .nii file has voxels that are no numbers"):
        read_source(tmp_path / "patient-7.nii")


def test_a_file_of_no_kind_that_is_read_is_said_to_be_one(tmp_path):
    (tmp_path / "patient-7.txt").write_text("text")
    with pytest.raises(
        NoInputError, match=r"^patient-7\.txt: a file, and none of \.nii\.gz, \.nii, \.mha, \.mhd"
    ):
        read_source(tmp_path / "patient-7.txt")


def test_skew_axes_are_refused(tmp_path):
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    affine[1, 2] = 3 * np.tan(np.radians(10))
    nibabel.save(nibabel.Nifti1Image(np.ones((5, 6, 7), np.int16), affine), tmp_path / "mr.nii")
    with pytest.raises(InputRejectedError, match=r"axes that are 10.0 degrees off a right angle"):
        read_source(tmp_path / "mr.nii")


def test_a_file_that_lies_nowhere_or_in_two_places_is_told(tmp_path):
    image = nibabel.Nifti1Image(np.ones((5, 6, 7), np.int16), np.diag([1.0, 1.0, 3.0, 1.0]))
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "mr.nii")
    (note,) = read_source(tmp_path / "mr.nii").notes
    assert "does not say where its volume lies" in note
    affine = LPS_TO_RAS @ np.diag([1.0, 1.0, 3.0, 1.0])
    image.set_sform(affine, 1)
    affine[:3, 3] = 0, 0, 2
    image.set_qform(affine, 1)
    nibabel.save(image, tmp_path / "mr.nii")
    (note,) = read_source(tmp_path / "mr.nii").notes
    assert note == "the NIfTI file's two transforms are 2 mm apart; its sform was taken"
    assert read_nifti(tmp_path / "mr.nii").grid.affine[2, 3] == 0


def test_a_folder_of_that_name_is_a_study(tmp_path):
    study = write_mr_study(tmp_path / "study.nii")
    assert read_source(study).headers


def test_a_qform_that_is_no_rotation_is_refused(mr, tmp_path):
    write_nifti(mr, tmp_path / "mr.nii")
    content = bytearray((tmp_path / "mr.nii").read_bytes())
    content[256:268] = np.array([0.9, 0.9, 0.9], "<f4").tobytes()  # the quaternion's b, c and d
    (tmp_path / "mr.nii").write_bytes(content)
    with pytest.raises(InputRejectedError, match=r"mr\.nii: its qform is no rotation"):
        read_source(tmp_path / "mr.nii")
