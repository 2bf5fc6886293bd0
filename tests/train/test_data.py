import math

import numpy as np
import pytest
from paired_sets import GRID, head, write_gold_atlas, write_png, write_synthrad

from mrct_runtime.appearance import appearance
from mrct_runtime.errors import InputRejectedError, NoInputError, OutputError, UsageError
from mrct_runtime.intensity import HuWindow
from mrct_runtime.paired import Slices, find_subjects, prepare
from mrct_runtime.volume import Volume
from mrct_train import data as module
from mrct_train.config import validated
from mrct_train.data import Order, Pairs, PreparedSubject, Split, load_pairs
from mrct_train.phantom.dataset import write_dataset
from mrct_train.phantom.spec import DatasetSpec, GridSpec


def config(**fields):
    return validated(
        {"size": 32, "spacing_mm": 2.5, "unet": {"multipliers": [1, 2]}} | fields, "test"
    )


def load(folder, cache, report=lambda _: None, **fields):
    return load_pairs(folder, config(**fields), cache, report)


@pytest.fixture
def mixed(tmp_path):
    """Three subjects in three layouts: 5, 5 and 3 slices."""
    folder = tmp_path / "data"
    write_png(folder, ["P"])
    write_synthrad(folder / "N")
    write_gold_atlas(folder / "D")
    return folder


def test_the_subjects_of_every_layout_become_one_sequence_of_slices(mixed, tmp_path):
    pairs = load(mixed, tmp_path / "cache")
    assert [subject.name for subject in pairs.subjects] == ["D", "N", "P"]
    assert pairs.counts == (5, 5, 3)
    x0, y = pairs.batch([0, 5, 12])
    assert x0.shape == y.shape == (3, 1, 32, 32)
    assert x0.dtype == y.dtype == np.float32
    # the same head in DICOM and in NIfTI, without and with a mask
    np.testing.assert_array_equal(pairs.batch(range(5))[1], pairs.batch(range(5, 10))[1])


def test_the_phantoms_training_subjects_are_read_and_the_test_subjects_never(tmp_path):
    write_dataset(tmp_path / "data", DatasetSpec(3, 0, GridSpec(48, 8.5, 4, 40.0, 5.0)))
    pairs = load(tmp_path / "data", tmp_path / "cache", spacing_mm=13.0)
    names = sorted(path.name for path in (tmp_path / "data" / "train").iterdir())
    assert [subject.name for subject in pairs.subjects] == names
    hu = HuWindow().to_hu(pairs.batch(pairs.of([0]))[0])
    # air where the MR is dark outside, tissue of some tens of HU and fat of some -100 inside
    assert np.median(hu[:, 0, 0]) < -950
    assert -150 < np.median(hu[pairs.batch(pairs.of([0]))[1] > 0.3]) < 100


def test_test_subjects_are_not_trained_on_where_there_is_no_training_part(tmp_path):
    write_synthrad(tmp_path / "data" / "test" / "A")
    with pytest.raises(UsageError, match="has a folder test but none called train"):
        load(tmp_path / "data", tmp_path / "cache")
    assert load(tmp_path / "data" / "test", tmp_path / "cache").counts == (5,)


def test_slices_are_those_that_preparation_gives(mixed, tmp_path):
    pairs = load(mixed, tmp_path / "cache")
    (pair,) = find_subjects(mixed, "N")[0].read()
    slices = prepare(pair, config().preparation)
    x0, y = pairs.batch(pairs.of([1]))
    np.testing.assert_array_equal(y[:, 0], slices.mr)
    np.testing.assert_allclose(HuWindow().to_hu(x0[:, 0]), slices.hu, atol=1e-3)


def test_the_recipe_chooses_subjects_and_views(mixed, tmp_path):
    assert load(mixed, tmp_path / "cache", subjects="[DN]").counts == (5, 5)
    pairs = load(mixed, tmp_path / "cache", subjects="P", views=["coronal", "axial"])
    assert pairs.counts == (2,)
    with pytest.raises(InputRejectedError, match="D: has no picture of the views coronal"):
        load(mixed, tmp_path / "cache", views=["coronal"])


def test_outside_air_empties_the_ct_around_the_body(tmp_path):
    couch = head()[1].array.copy()
    couch[:, -4] = 200
    write_synthrad(tmp_path / "data" / "A", ct=Volume(couch, GRID))
    kept, emptied = (
        load(tmp_path / "data", tmp_path / "cache", outside=outside, spacing_mm=2.0)
        for outside in ("keep", "air")
    )
    inside = kept.subjects[0].slices.body[2]
    with_couch, without = (pairs.batch([2])[0][0, 0] for pairs in (kept, emptied))
    assert with_couch[~inside].max() > 0.25
    assert without[~inside].max() == 0
    np.testing.assert_array_equal(with_couch[inside], without[inside])


def test_the_ct_is_cut_at_the_ends_of_the_window(tmp_path):
    ct = head()[1].array.copy()
    ct[2, 18, 15] = 19002
    write_synthrad(tmp_path / "data" / "A", ct=Volume(ct, GRID))
    x0, _ = load(tmp_path / "data", tmp_path / "cache", spacing_mm=2.0).batch(range(5))
    assert (x0.min(), x0.max()) == (0, 1)


def test_the_cache_is_mapped_and_used_until_files_or_recipe_change(mixed, tmp_path, monkeypatch):
    reads = []
    real = module.read_subject
    monkeypatch.setattr(
        module,
        "read_subject",
        lambda subject, config: reads.append(subject.name) or real(subject, config),
    )
    cache = tmp_path / "cache"

    def read_again(**fields):
        reads.clear()
        pairs = load(mixed, cache, **fields)
        arrays = [array for subject in pairs.subjects for array in subject.slices]
        assert not any(array.flags.owndata or array.flags.writeable for array in arrays)
        return "".join(reads)

    assert read_again() == "DNP"
    assert read_again() == ""
    assert read_again(hu_window={"high": 2000.0}, outside="air", seed=3, batch=4) == ""
    assert read_again(spacing_mm=2.0) == "DNP"
    assert read_again(mr_normalisation={"high_percentile": 99.0}) == "DNP"
    next((mixed / "D").rglob("*.dcm")).touch()
    assert read_again() == "D"
    (mixed / "ct_scale_estimate.csv").touch()
    assert read_again() == "P"


def test_a_subject_is_known_by_its_voxels(mixed, tmp_path):
    first, again = (load(mixed, tmp_path / name) for name in ("one", "two"))
    assert [s.digest for s in first.subjects] == [s.digest for s in again.subjects]
    assert len({s.digest for s in first.subjects}) == 2, "D and N are the same head"
    other = load(mixed, tmp_path / "one", spacing_mm=2.0)
    assert not {s.digest for s in other.subjects} & {s.digest for s in first.subjects}


@pytest.mark.parametrize(
    ("replaced", "told"),
    [
        ({"ct": None}, "B: lacks the CT"),
        ({"mr": None}, "B: lacks the MR"),
        (
            {"ct": Volume(np.full(GRID.shape, np.nan, np.float32), GRID)},
            "B: the axial CT holds NaN",
        ),
        ({"mask": Volume(np.zeros(GRID.shape, bool), GRID)}, "B: the axial body mask is empty"),
    ],
)
def test_a_subject_that_cannot_be_used_ends_training_with_its_name(replaced, told, tmp_path):
    write_synthrad(tmp_path / "data" / "A")
    write_synthrad(tmp_path / "data" / "B", **replaced)
    with pytest.raises(InputRejectedError, match=told) as error:
        load(tmp_path / "data", tmp_path / "cache")
    assert "\n" not in str(error.value)


def test_odd_hu_are_told_every_time_and_do_not_end_training(tmp_path):
    ct = head()[1].array.copy()
    ct[0, 0, :2] = -3000
    write_synthrad(tmp_path / "data" / "A", ct=Volume(ct, GRID))
    (tmp_path / "data" / "papers").mkdir()
    for _ in range(2):
        lines = []
        load(tmp_path / "data", tmp_path / "cache", lines.append)
        assert [line for line in lines if line.startswith("warning")] == [
            "warning: passed over, no MR and no CT in: papers",
            "warning: A: 2 of 5400 voxels of the axial CT lie outside -1024 to 3071 HU, from -3000 to 900; they are cut",
        ]


@pytest.mark.parametrize(
    ("cut", "told"),
    [
        (0.0, []),
        (0.02, ["warning: A: {share} of the body's voxels lie outside hu_window, -500 to 500 HU"]),
    ],
)
def test_a_body_that_the_window_cuts_is_told(cut, told, tmp_path):
    write_within(tmp_path / "data" / "A", cut)
    lines = []
    window = {"low": -500.0, "high": 500.0}
    pairs = load(tmp_path / "data", tmp_path / "cache", lines.append, **GRIDDED, hu_window=window)
    slices = pairs.subjects[0].slices
    share = np.mean(abs(slices.hu[slices.body]) > 500)
    assert share == pytest.approx(cut, abs=0.005)
    found = [line for line in lines if "hu_window" in line]
    assert found == [f"{line.format(share=f'{share:.2%}')}; they are cut" for line in told]


def test_a_window_that_cuts_much_of_a_body_is_refused(tmp_path):
    write_within(tmp_path / "data" / "A", 0.1)
    load(tmp_path / "data", tmp_path / "cache", **GRIDDED)
    with pytest.raises(
        InputRejectedError, match=r"A: .* outside hu_window, -1024 to 500 HU; widen"
    ):
        load(tmp_path / "data", tmp_path / "cache", **GRIDDED, hu_window={"high": 500.0})


GRIDDED = {"spacing_mm": 2.0, "size": 36}


def write_within(folder, share):
    """A subject of 40 HU, of whose body this share has 900 HU."""
    body = head()[2]
    hu = np.where(body, 40, -1000)
    inside = np.flatnonzero(body)
    hu.flat[inside[: round(share * len(inside))]] = 900
    write_synthrad(folder, ct=Volume(hu.astype(np.float32), GRID))


def test_a_surprise_of_a_library_is_told_with_the_subject_in_one_line(mixed, tmp_path, monkeypatch):
    def surprised(subject, _config):
        raise RuntimeError("of patient\nsuch and such")

    monkeypatch.setattr(module, "read_subject", surprised)
    with pytest.raises(InputRejectedError) as error:
        load(mixed, tmp_path / "cache")
    assert str(error.value) == "D: cannot be read: RuntimeError"


def test_a_subject_that_another_run_cached_meanwhile_is_taken_from_there(
    mixed, tmp_path, monkeypatch
):
    real = module.read_subject

    def overtaken(subject, config):
        monkeypatch.setattr(module, "read_subject", real)
        load(mixed, tmp_path / "cache")
        return real(subject, config)

    monkeypatch.setattr(module, "read_subject", overtaken)
    assert load(mixed, tmp_path / "cache").counts == (5, 5, 3)


def test_a_cache_that_cannot_be_written_is_told(mixed, tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        load(mixed, tmp_path / "cache")


def test_a_half_written_cache_is_not_used(mixed, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setattr(module, "digest", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        load(mixed, cache)
    assert not list(cache.glob("*"))
    monkeypatch.undo()
    assert load(mixed, cache).counts == (5, 5, 3)


def test_a_folder_without_subjects_is_told(tmp_path):
    with pytest.raises(NoInputError, match="no paired data here"):
        load(tmp_path, tmp_path / "cache")


def made(counts=(2, 3, 1)):
    """Subjects whose slices are all different: 2 x 2 pixels of MR, and of CT in whole HU."""
    random = np.random.default_rng(0)
    subjects = []
    for s, count in enumerate(counts):
        mr = random.random((count, 2, 2), np.float32)
        hu = random.integers(-1024, 3072, (count, 2, 2)).astype(np.float32)
        subjects.append(PreparedSubject(f"s{s}", Slices(mr, hu, hu > 0), f"digest {s}"))
    return Pairs(tuple(subjects))


def test_subjects_are_split_whole_by_the_seed_and_no_subject_is_in_two_parts():
    splits = set()
    for seed in range(20):
        split = Split.draw(7, config(seed=seed, validation_subjects=2, test_subjects=1))
        parts = (split.training, split.validation, split.test)
        assert [len(part) for part in parts] == [4, 2, 1]
        assert sorted(sum(parts, ())) == list(range(7))
        assert split == Split.draw(7, config(seed=seed, validation_subjects=2, test_subjects=1))
        splits.add(parts)
    assert len(splits) > 10


def test_a_split_that_leaves_nothing_to_train_on_is_refused():
    with pytest.raises(
        UsageError, match="validation_subjects 2 and test_subjects 1 leave none of 3"
    ):
        Split.draw(3, config(validation_subjects=2, test_subjects=1))


def test_a_subjects_slices_are_found_by_its_place():
    pairs = made()
    assert pairs.of([0, 2]).tolist() == [0, 1, 5]
    assert pairs.of([]).tolist() == []
    _, y = pairs.batch([4, 5])
    np.testing.assert_array_equal(y[0, 0], pairs.subjects[1].slices.mr[2])
    np.testing.assert_array_equal(y[1, 0], pairs.subjects[2].slices.mr[0])
    with pytest.raises(IndexError):
        pairs.batch([6])


def test_the_summary_counts_training_slices_and_measures_their_ct():
    pairs = made()
    summary = pairs.summary([0, 2])
    x0, _ = pairs.batch(pairs.of([0, 2]))
    assert (summary.subjects, summary.slices) == (2, 3)
    assert summary.mean == pytest.approx(x0.mean())
    assert summary.deviation == pytest.approx(x0.std())
    assert math.isfinite(summary.deviation)
    assert summary.digests == ("digest 0", "digest 2")
    assert summary.fingerprint != pairs.summary([0, 1]).fingerprint


def test_the_summary_keeps_how_the_training_subjects_looked():
    pairs = made()
    seen = pairs.summary([0, 2]).seen
    assert seen.subjects == 2
    looks = [appearance(pairs.subjects[s].slices.mr, pairs.spacing_mm) for s in (0, 2)]
    for name, ends in seen.ranges.items():
        assert ends == pytest.approx(sorted(look[name] for look in looks), abs=1e-6)


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


def test_no_slices_to_order_is_told():
    with pytest.raises(NoInputError, match="no slices to train on"):
        Order(np.arange(0), 2, seed=0)


@pytest.mark.parametrize("name", ["mr", "hu", "body"])
def test_prepared_slices_that_were_changed_are_refused_and_not_trained_on(tmp_path, name):
    write_synthrad(tmp_path / "data/one")
    config, cache = validated({"size": 32, "spacing_mm": 2.0}, "test"), tmp_path / "cache"
    load_pairs(tmp_path / "data", config, cache, lambda _: None)
    (path,) = cache.rglob(f"{name}.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputRejectedError, match=r"prepared slices in .* are damaged"):
        load_pairs(tmp_path / "data", config, cache, lambda _: None)
