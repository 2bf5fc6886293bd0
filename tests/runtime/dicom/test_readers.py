"""What independent programs read out of the files, for real sources and every option."""

import re
from dataclasses import replace

import highdicom
import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_study import GE_UID, make_grid, make_signal, run_program, validation_errors, write_series
from mr_study import write_mr_study
from pydicom import dcmread
from real_sources import REAL, real_source
from tiny_bundle import write_tiny_bundle

import mrct_runtime
from mrct_runtime.contours import body
from mrct_runtime.departures import Given
from mrct_runtime.dicom import read_study
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.intensity import body_mask
from mrct_runtime.outputs import Outputs
from mrct_runtime.process import VESDE
from mrct_runtime.settings import Settings
from mrct_runtime.translate import prepare
from mrct_runtime.volume import Volume

GEOMETRY = ("+P", "0020,0032", "+P", "0020,0037", "+P", "0028,0030")
PLAIN = Outputs(maps=True, contour="rtstruct", page=True)
CHANGED = Outputs(maps=True, contour="seg", page=True, spacing=1.1, deidentify=True, kvp=120)
PHANTOMS = {"oblique phantom": False, "big-endian phantom": True}
# dcm2niix takes the first gap between slices for all of them, which GE's are not.
FIRST_GAP_MM = {"GE brain, uneven slices": 2.0}


@pytest.fixture(scope="module")
def some_result(tmp_path_factory):
    place = tmp_path_factory.mktemp("result")
    bundle = mrct_runtime.load(write_tiny_bundle(place / "tiny.mrct", size=24))
    job = prepare(bundle, write_mr_study(place / "study"), Settings(mc=2, options={"steps": 20}))
    return job.run(Analytic(VESDE()))


@pytest.fixture(
    scope="module",
    params=[*PHANTOMS, *(pytest.param(name, marks=pytest.mark.slow) for name in REAL)],
)
def source(request, tmp_path_factory):
    place = tmp_path_factory.mktemp("source")
    if request.param in REAL:
        data = request.getfixturevalue("shared_data")
        return request.param, real_source(request.param, data, place)
    grid = make_grid((8, 30, 40), (3.0, 1.0, 1.25), (18, -7, 3))
    write_series(place, grid, make_signal(grid), big_endian=PHANTOMS[request.param])
    return request.param, read_study(place)


@pytest.fixture(scope="module", params=[PLAIN, CHANGED], ids=["as it is", "changed"])
def saved(request, source, some_result, tmp_path_factory):
    """The name, the result as it was to be written, the options, the folder."""
    name, series = source
    rng = np.random.default_rng(5)
    shape, grid = series.volume.grid.shape, series.volume.grid
    mean = Volume(rng.uniform(-1100, 3000, shape).astype(np.float32), grid)
    std = Volume(rng.gamma(2.0, 60.0, shape).astype(np.float32), grid)
    canonical = series.volume.canonical()
    given = Given(Volume(body_mask(canonical), canonical.grid), 0.0, (), compared=False)
    result = replace(some_result, source=series, mean_hu=mean, std_hu=std, given=given)
    place = tmp_path_factory.mktemp("saved") / "out"
    return name, request.param.of(result), request.param, result.save(place, outputs=request.param)


def voxels(grid):
    """Some indices, corners among them."""
    s, y, x = (n - 1 for n in grid.shape)
    return [(0, 0, 0), (s, y, x), (s, 0, x), (0, y, 0), (s // 2, y // 3, x // 2)]


def rounded_mm(source):
    """How far the slices' own places are from the even grid, by what the scanner rounded; and the promised 1e-4 mm."""
    own = np.array([header.ImagePositionPatient for header in source.headers], float)
    even = [source.volume.grid.world((s, 0, 0)) for s in range(len(own))]
    return np.linalg.norm(own - even, axis=1).max() + 1e-4


def check(grid, affine, array, expected, *, within_mm, within):
    """At each place in the patient a reader, with its affine from index to LPS mm, has the value that was to be there."""
    to_index = np.linalg.inv(affine)
    for index in voxels(grid):
        place = grid.world(index)
        own = np.rint((to_index @ (*place, 1.0))[:3]).astype(int)
        apart = np.linalg.norm((affine @ (*own, 1.0))[:3] - place)
        assert apart <= within_mm, (index, apart)
        assert abs(float(array[tuple(own)]) - expected[index]) <= within, index


def test_dciodvfy_finds_no_error_in_any_object(saved):
    name, _, wanted, folder = saved
    inherited = [GE_UID] if name.startswith("GE brain") and not wanted.deidentify else []
    files = list(folder.rglob("*.dcm"))
    assert len(files) > 10
    for path in files:
        report = run_program("dciodvfy", path)
        assert validation_errors(report, inherited) == [], path.name


def test_dcentvfy_finds_one_patient_study_and_frame(saved):
    assert "Error" not in run_program("dcentvfy", *saved[3].rglob("*.dcm"))


def test_only_a_deidentified_folder_holds_no_name_number_date_or_uid_of_the_source(source, saved):
    _, _, wanted, folder = saved
    telling = {
        str(element.value).encode()
        for header in source[1].headers
        for element in header
        if element.VR in {"UI", "PN", "DA", "DT"} or "ID" in element.keyword
        if element.value and not str(element.value).startswith("1.2.840.10008.")
    }
    # shorter ones, such as the study's number 1, stand in any file
    telling = {value for value in telling if len(value) > 4} - {b"19000101"}
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    told = {value for value in telling if any(value in content for content in contents)}
    assert bool(told) != wanted.deidentify
    assert len(telling) > 4


def test_dcmdump_prints_every_object_and_the_geometry_of_the_source(saved):
    _, written, _, folder = saved
    for path in folder.rglob("*.dcm"):
        report = run_program("dcmdump", "-q", path)
        assert "SOPInstanceUID" in report, path.name
        assert not re.search(r"^[EF]: ", report, re.MULTILINE), path.name
    for path, header in zip(
        sorted((folder / "sct").iterdir()), written.source.headers, strict=True
    ):
        report = run_program("dcmdump", "+L", *GEOMETRY, path)
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            shown = re.search(rf"\[(.*?)\].*{keyword}", report)[1]
            assert [float(v) for v in shown.split("\\")] == [
                float(v) for v in header[keyword].value
            ]


def test_pydicom_finds_whole_hu_on_each_slice(saved):
    _, written, _, folder = saved
    expected = np.clip(written.mean_hu.array, -1024, 3071)
    for s, path in enumerate(sorted((folder / "sct").iterdir())):
        image = dcmread(path)
        hu = image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept)
        assert np.abs(hu - expected[s]).max() <= 0.5


def test_simpleitk_reads_both_series_where_they_are(saved):
    _, written, _, folder = saved
    for series, volume, within in (("sct", written.mean_hu, 0.5), ("std", written.std_hu, 0.06)):
        names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder / series))
        with_warnings = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
        image = SimpleITK.ReadImage(names)
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(with_warnings)
        affine = np.eye(4)
        axes = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        affine[:3, :3], affine[:3, 3] = axes[:, ::-1], image.GetOrigin()
        array = SimpleITK.GetArrayFromImage(image)
        expected = np.clip(volume.array, -1024, 3071)
        check(
            volume.grid,
            affine,
            array,
            expected,
            within_mm=rounded_mm(written.source),
            within=within,
        )


def test_highdicom_reads_the_series_the_map_and_the_segmentation_where_they_are(saved):
    _, written, wanted, folder = saved
    near = rounded_mm(written.source)
    grid = written.source.volume.grid
    images = [dcmread(path) for path in sorted((folder / "sct").iterdir())]
    ct = highdicom.get_volume_from_series(images, rtol=0.02)
    expected = np.clip(written.mean_hu.array, -1024, 3071)
    check(grid, ct.affine, ct.array, expected, within_mm=near, within=0.5)
    std = highdicom.imread(folder / "std.dcm").get_volume(rtol=0.02)
    check(grid, std.affine, std.array, written.std_hu.array, within_mm=near, within=0)
    if wanted.contour == "seg":
        seg = highdicom.seg.segread(folder / "body_seg.dcm").get_volume(
            combine_segments=True, rtol=0.02
        )
        inside = body(written.source.volume).array.astype(int)
        check(grid, seg.affine, seg.array, inside, within_mm=near, within=0)


def test_dcm2niix_reads_both_series_and_the_map_where_they_are(saved, tmp_path):
    name, written, _, folder = saved
    expected = np.clip(written.mean_hu.array, -1024, 3071)
    parts = (
        ("sct", folder / "sct", expected, 0.5),
        ("maps", folder / "std", written.std_hu.array, 0.06),
        ("map", folder / "std.dcm", written.std_hu.array, 1e-3),
    )
    for part, place, values, within in parts:
        run_program("dcm2niix", "-z", "n", "-f", part, "-o", tmp_path, place)
        image = nibabel.load(tmp_path / f"{part}.nii")
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
        # it calculates in single precision
        near = rounded_mm(written.source) + FIRST_GAP_MM.get(name, 1e-3)
        check(
            written.mean_hu.grid, affine, image.get_fdata(), values, within_mm=near, within=within
        )
