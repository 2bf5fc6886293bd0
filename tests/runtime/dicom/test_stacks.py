import pytest
from dicom_study import make_grid, write_series

from mrct_runtime.dicom import read_series, scan
from mrct_runtime.dicom.geometry import stacked
from mrct_runtime.errors import SeriesError

GRID = make_grid((4, 8, 10))


def write_again(folder, times, change):
    """The same positions `times` over in one series, change(time, index, image) telling them apart."""
    for time in range(times):
        write_series(
            folder / str(time), GRID, per_slice=lambda i, image, time=time: change(time, i, image)
        )
    return folder


@pytest.mark.parametrize(
    ("keyword", "values", "parts"),
    [
        ("ComplexImageComponent", ["PHASE", "MAGNITUDE"], ["MAGNITUDE", "PHASE"]),
        ("DiffusionBValue", [800.0, 50.0], ["b 50.0", "b 800.0"]),
        ("SequenceName", ["*ep_b400", "*ep_b50"], ["*ep_b50", "*ep_b400"]),
        (
            "TemporalPositionIdentifier",
            ["2", "10"],
            ["temporal position 2", "temporal position 10"],
        ),
        ("AcquisitionNumber", ["1", "2"], ["acquisition 1", "acquisition 2"]),
        ("InversionTime", ["300", "1200"], ["TI 300 ms", "TI 1200 ms"]),
        (
            "ImageType",
            [["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]],
            ["ORIGINAL PRIMARY M", "ORIGINAL PRIMARY P"],
        ),
    ],
)
def test_images_that_repeat_positions_are_told_apart_by_what_differs(
    tmp_path, keyword, values, parts
):
    write_again(tmp_path, 2, lambda time, _, image: setattr(image, keyword, values[time]))
    groups = scan(tmp_path).groups
    assert [group.part for group in groups] == parts
    assert [group.name for group in groups] == ["4:1", "4:2"]
    assert all(len({str(h.get(keyword)) for h in group.headers}) == 1 for group in groups)
    assert all(read_series(group).volume.grid.shape == GRID.shape for group in groups)


def test_what_differs_between_positions_only_does_not_tear_a_stack_apart(tmp_path):
    def interleaved(index, image):
        image.AcquisitionNumber = index % 2 + 1
        image.TriggerTime = str(10 * index)
        image.ImageType = ["ORIGINAL", "PRIMARY", "M", f"S{index}"]

    write_series(tmp_path, GRID, per_slice=interleaved)
    (group,) = scan(tmp_path).groups
    assert (len(group.headers), group.part, group.name) == (4, "", "4")


def test_a_number_of_its_own_for_each_image_tells_nothing_apart(tmp_path):
    write_again(tmp_path, 2, lambda t, i, image: setattr(image, "AcquisitionNumber", 4 * t + i))
    (group,) = scan(tmp_path).groups
    with pytest.raises(SeriesError, match="4 of 8 images repeat a position"):
        stacked(group)


def test_acquisitions_that_are_interleaved_and_repeated_are_told_apart_by_their_times(tmp_path):
    def change(time, index, image):
        image.AcquisitionNumber = index % 2 + 1
        image.TemporalPositionIdentifier = time + 1

    write_again(tmp_path, 2, change)
    assert [group.part for group in scan(tmp_path).groups] == [
        "temporal position 1",
        "temporal position 2",
    ]


def test_directions_are_told_apart_within_b_values(tmp_path):
    table = [(0.0, None), (800.0, [1.0, 0.0, 0.0]), (800.0, [0.0, 1.0, 0.0])]

    def change(time, index, image):
        image.DiffusionBValue, direction = table[time]
        if direction:
            image.DiffusionGradientOrientation = direction

    write_again(tmp_path, 3, change)
    assert [(group.part, len(group.headers)) for group in scan(tmp_path).groups] == [
        ("b 0.0", 4),
        ("b 800.0, gradient 0.0 1.0 0.0", 4),
        ("b 800.0, gradient 1.0 0.0 0.0", 4),
    ]


def test_an_unfinished_repetition_is_a_stack_of_its_own(tmp_path):
    write_again(tmp_path, 2, lambda t, _, image: setattr(image, "TemporalPositionIdentifier", t))
    for path in sorted((tmp_path / "1").iterdir())[:1]:
        path.unlink()
    assert sorted(len(group.headers) for group in scan(tmp_path).groups) == [3, 4]


def test_the_diffusion_of_a_real_study_is_three_stacks(shared_data):
    groups = scan(shared_data / "prostatex_mr_dicom" / "ProstateX").groups
    parts = [group.part for group in groups if group.number == 6]
    assert parts == ["*ep_b50t", "*ep_b400t", "*ep_b800t"]
