from __future__ import annotations

import numpy as np
import pytest
from dicom_study import make_grid
from fitted import of_scale
from flat_pairs import write_pairs
from paired_sets import head

from mrct_runtime.evaluation.bootstrap import Bootstrap
from mrct_runtime.evaluation.calibration import Voxels
from mrct_runtime.evaluation.cases import Selection, load_case
from mrct_runtime.evaluation.recalibration import Scale
from mrct_runtime.evaluation.voxels import body_voxels, worth
from mrct_runtime.intensity import HuWindow, MrNormalisation, body_mask
from mrct_runtime.manifest import Image
from mrct_runtime.paired import Pair, Preparation, Subject, find_subjects
from mrct_runtime.synthesis import Moments
from mrct_runtime.translate import conditioned
from mrct_runtime.volume import Volume

WINDOW = HuWindow()
IMAGE = Image(size=32, spacing_mm=1.0, multiple=1)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = write_pairs(tmp_path_factory.mktemp("data") / "pairs", ("A1",))
    (subject,) = find_subjects(folder)
    return load_case(subject, Preparation(IMAGE, MrNormalisation()), Selection())


def moments(case) -> Moments:
    """A mean that is 20 HU too low, or cut off at the window's lower end, and a deviation that names the voxel."""
    hu = case.parts[0].slices.hu
    mean = (hu - 20 - WINDOW.low) / WINDOW.width
    std = np.arange(hu.size).reshape(hu.shape) / WINDOW.width
    return Moments(mean, std, np.full(len(mean), 10), evaluations=0, batch=10)


def test_voxels_are_the_bodys_with_the_error_of_the_clamped_mean(case) -> None:
    part = case.parts[0]
    found = body_voxels(case, [moments(case)], WINDOW)
    assert len(found) == part.recalibrated.sum()
    truth = part.ct[part.recalibrated]
    np.testing.assert_allclose(found.mean_hu, np.maximum(truth - 20, WINDOW.low), atol=0.01)
    np.testing.assert_allclose(found.error_hu, truth - found.mean_hu, atol=0.01)
    np.testing.assert_allclose(found.std_hu, np.flatnonzero(part.recalibrated), rtol=1e-5)


def test_voxels_are_those_that_inference_recalibrates_whatever_mask_the_data_set_has() -> None:
    # a field of view of 30 mm at 1.5 mm, over pixels of 2 mm, in which the data set's mask has no voxel
    grid = make_grid((3, 36, 30), (3.0, 2.0, 2.0))
    mr, ct, _ = head(grid)
    mask = np.zeros(grid.shape, bool)
    mask[:, :4] = True
    pair = Pair(mr, ct, mask)
    image = Image(size=20, spacing_mm=1.5, multiple=1)
    preparation = Preparation(image, MrNormalisation())
    case = load_case(Subject("V1", (), lambda: (pair,)), preparation, Selection())
    mark = np.zeros(case.parts[0].slices.mr.shape)
    found = body_voxels(
        case, [Moments(mark, mark + 7 / WINDOW.width, np.full(len(mark), 10), 0, 10)], WINDOW
    )

    # as Job.run brings a deviation and its body back to the MR
    condition, body, *_ = conditioned(mr, preparation.normalisation, image)
    own = Volume(body.astype(np.uint8), condition.grid).resample(mr.grid, fill=0, order=0).array
    assert 0 < own.sum() < (body_mask(mr.canonical())).sum()
    assert len(found) == own.sum()
    np.testing.assert_allclose(found.std_hu, 7.0, rtol=1e-5)
    np.testing.assert_allclose(np.sort(found.error_hu), np.sort(ct.array[own == 1] + 1024))


def test_a_large_body_is_judged_by_the_same_voxels_every_time(case) -> None:
    all_of_them = body_voxels(case, [moments(case)], WINDOW)
    few, again = (body_voxels(case, [moments(case)], WINDOW, most=100) for _ in range(2))
    assert len(few) == len(set(few.std_hu)) == 100
    np.testing.assert_array_equal(few.std_hu, again.std_hu)
    assert set(few.std_hu) <= set(all_of_them.std_hu)


def test_the_report_has_the_raw_worth_and_the_recalibrated_one_where_there_is_one() -> None:
    voxels = Voxels(np.zeros(200), np.ones(200), np.full(200, 4.0))
    bootstrap = Bootstrap(resamples=100)
    scale = Scale(factor=5.0, floor_hu=0.0)
    recalibration = of_scale(scale)
    assert set(worth([voxels], 10, None, bootstrap)) == {"raw"}
    found = worth([voxels], 10, recalibration, bootstrap)
    shares = [each["tissues"]["all"]["coverage"]["80"].value for each in found.values()]
    assert shares == [0.0, 1.0]
