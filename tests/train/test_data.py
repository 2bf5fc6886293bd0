import dataclasses

import numpy as np
import pytest

from mrct_runtime.dicom.reading import read_pair
from mrct_runtime.errors import InputRejectedError, NoInputError, UsageError
from mrct_runtime.manifest import Image
from mrct_runtime.translate import conditioned
from mrct_train import data as module
from mrct_train.config import validated
from mrct_train.data import Order, Pairs, find_subjects, load_pairs
from mrct_train.phantom.dataset import write_dataset
from mrct_train.phantom.spec import DatasetSpec, GridSpec

CONFIG = validated({"size": 32, "spacing_mm": 13.0, "unet": {"multipliers": [1, 2]}}, "test")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "phantoms"
    write_dataset(folder, DatasetSpec(3, 0, GridSpec(48, 8.5, 4, 40.0, 5.0)))
    return folder


def load(dataset, cache, config=CONFIG):
    return load_pairs(dataset, config, cache, lambda _: None)


def test_the_training_subjects_are_read_and_the_test_subjects_never(dataset, tmp_path):
    subjects = find_subjects(dataset)
    assert subjects == sorted((dataset / "train").iterdir())
    pairs = load(dataset, tmp_path)
    assert pairs.counts == (4,) * len(subjects)
    assert pairs.mr.shape == pairs.ct.shape == (4 * len(subjects), 32, 32)
    assert pairs.mr.dtype == pairs.ct.dtype == np.float32


def test_the_mr_is_prepared_as_at_inference(dataset, tmp_path):
    pairs = load(dataset, tmp_path)
    mr, _ = read_pair(find_subjects(dataset)[0])
    image = Image(size=32, spacing_mm=13.0, multiple=2)
    condition, *_ = conditioned(mr.volume, CONFIG.mr_normalisation, image)
    np.testing.assert_array_equal(pairs.mr[:4], condition.array)


def test_the_ct_lies_under_its_mr_in_units_of_the_hu_window(dataset, tmp_path):
    pairs = load(dataset, tmp_path)
    hu = pairs.ct * 4095.0 - 1024
    assert hu.min() >= -1024.5
    # air where the MR is dark outside, tissue of some tens of HU and fat of some -100 inside
    assert np.median(hu[:, 0]) < -950
    inside = hu[pairs.mr > 0.3]
    assert -150 < np.median(inside) < 100


def test_the_cache_is_used_until_files_or_recipe_change(dataset, tmp_path, monkeypatch):
    first = load(dataset, tmp_path)
    reads = []
    real = module.read_subject
    monkeypatch.setattr(
        module, "read_subject", lambda folder, config: reads.append(folder) or real(folder, config)
    )
    again = load(dataset, tmp_path)
    assert not reads
    assert isinstance(again.mr, np.memmap)
    assert first.fingerprint() == again.fingerprint()
    load(dataset, tmp_path, CONFIG.model_copy(update={"spacing_mm": 12.0}))
    assert len(reads) == len(first.counts)
    next(find_subjects(dataset)[0].rglob("*.dcm")).touch()
    load(dataset, tmp_path)
    assert len(reads) == 2 * len(first.counts)


def test_a_folder_without_subjects_is_told(tmp_path):
    with pytest.raises(NoInputError, match="no subject folders"):
        find_subjects(tmp_path)


def arrays(slices=6, counts=(2, 3, 1)):
    images = np.arange(slices * 4, dtype=np.float32).reshape(slices, 2, 2) / 24
    return Pairs(images, images, counts)


def test_subjects_are_split_whole_and_by_the_seed():
    pairs = arrays()
    owner = np.repeat([0, 1, 2], pairs.counts)
    splits = set()
    for seed in range(10):
        training, validation = pairs.split(1, seed)
        assert sorted([*training, *validation]) == list(range(6))
        assert not set(owner[training]) & set(owner[validation])
        assert len(set(owner[validation])) == 1
        splits.add(tuple(validation))
    assert len(splits) > 1
    with pytest.raises(UsageError, match="validation_subjects is 3, but there are 3 subjects"):
        pairs.split(3, 0)


def test_the_summary_counts_training_slices_and_measures_their_ct():
    pairs = arrays()
    training = np.array([0, 3, 5])
    summary = pairs.summary(training, 2)
    assert (summary.subjects, summary.slices) == (2, 3)
    assert summary.mean == pytest.approx(pairs.ct[training].mean())
    assert summary.deviation == pytest.approx(pairs.ct[training].std())


def test_the_fingerprint_changes_with_any_voxel():
    pairs = arrays()
    ct = pairs.ct.copy()
    ct[5, 1, 1] += 1e-6
    assert dataclasses.replace(pairs, ct=ct).fingerprint() != pairs.fingerprint()


def test_arrays_that_do_not_pair_are_refused():
    images = np.zeros((6, 2, 2), np.float32)
    with pytest.raises(InputRejectedError, match="not paired"):
        Pairs(images, images[:5], (6,))
    with pytest.raises(InputRejectedError, match="do not belong"):
        Pairs(images, images, (2, 3))


def test_every_slice_comes_once_an_epoch_in_a_new_order():
    order = Order(np.array([3, 5, 6, 7, 9]), batch=2, seed=1)
    stream = np.concatenate([order.indices(step) for step in range(10)])
    epochs = stream.reshape(4, 5)
    assert all(sorted(epoch) == [3, 5, 6, 7, 9] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert [order.epoch(step) for step in range(6)] == [0, 0, 0, 1, 1, 2]


def test_the_place_in_the_order_is_the_step_alone():
    slices = np.arange(7)
    fresh, used = Order(slices, 3, seed=2), Order(slices, 3, seed=2)
    for step in range(20):
        used.indices(step)
    assert fresh.indices(11).tolist() == used.indices(11).tolist()
    assert fresh.indices(11).tolist() != Order(slices, 3, seed=3).indices(11).tolist()
