import csv

import numpy as np
import pytest
from paired_sets import head, picture_of, write_png
from skimage.io import imread, imsave

from mrct_runtime.errors import InputRejectedError
from mrct_runtime.paired.png import TABLES, find, read_scales


def subject(folder):
    return find(folder)[0]


def test_pictures_stand_head_up_and_left_is_right(tmp_path):
    write_png(tmp_path)
    mr, ct, body = head()
    cut = {"axial": np.s_[2], "coronal": np.s_[::-1, 18], "sagittal": np.s_[::-1, :, 15]}
    for pair in subject(tmp_path).read():
        # LPS z counts up to the head, a picture's rows count down from it
        np.testing.assert_allclose(4 * pair.mr.array[0], mr.array[cut[pair.view]], atol=3)
        np.testing.assert_allclose(pair.ct.array[0], ct.array[cut[pair.view]], atol=8)
        np.testing.assert_array_equal(pair.mask[0], body[cut[pair.view]])


def test_grey_values_become_hu_by_the_subjects_own_line_of_the_table(tmp_path):
    write_png(tmp_path, ["A", "B"], ["axial"])
    rows = [("subject", "view", "estimated_HU_at_255", "pixel_mm")]
    rows += [("A", "axial", 1016, 1.5), ("B", "axial", 3056, "")]
    with (tmp_path / "ct_scale.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (a,), (b,) = (found.read() for found in find(tmp_path))
    grey = imread(tmp_path / "A" / "ct_axial.png").T.astype(float)
    np.testing.assert_allclose(a.ct.array[0], -1024 + grey * 2040 / 255, atol=1e-3)
    np.testing.assert_allclose(b.ct.array[0], -1024 + grey * 4080 / 255, atol=1e-3)
    np.testing.assert_allclose(a.mr.grid.spacing_mm, 1.5)
    np.testing.assert_allclose(b.mr.grid.spacing_mm, 1.0)


def test_the_table_is_among_the_files_so_that_a_cache_notices_its_change(tmp_path):
    write_png(tmp_path)
    assert tmp_path / "ct_scale_estimate.csv" in subject(tmp_path).files


def test_a_subject_without_masks_has_none(tmp_path):
    write_png(tmp_path)
    for mask in (tmp_path / "1BA001").glob("mask_*"):
        mask.unlink()
    assert [pair.mask for pair in subject(tmp_path).read()] == [None] * 3


@pytest.mark.parametrize(
    ("lost", "told"), [("mri", "lacks mri_axial.png"), ("ct", "lacks ct_axial.png")]
)
def test_a_subject_with_one_of_the_two_is_found_and_refused(lost, told, tmp_path):
    write_png(tmp_path, ["A"], ["axial"])
    (tmp_path / "A" / f"{lost}_axial.png").unlink()
    with pytest.raises(InputRejectedError, match=told):
        subject(tmp_path).read()


def test_pairs_without_a_table_are_refused(tmp_path):
    write_png(tmp_path)
    (tmp_path / "ct_scale_estimate.csv").unlink()
    with pytest.raises(InputRejectedError, match="their grey values are no HU; add the table"):
        find(tmp_path)


def test_a_subject_that_the_table_does_not_know_is_refused(tmp_path):
    write_png(tmp_path, ["A", "B"], ["axial"])
    table = tmp_path / "ct_scale_estimate.csv"
    table.write_text(table.read_text().replace("A,", "C,"))
    with pytest.raises(InputRejectedError, match="no line for the axial CT"):
        subject(tmp_path).read()


@pytest.mark.parametrize(
    "text",
    [
        "subject,view\nA,axial\n",
        "subject,view,estimated_HU_at_255\nA,axial,bright\n",
        "subject,view,estimated_HU_at_255\nA,axial,nan\n",
        "subject,view,estimated_HU_at_255\nA,axial,-2000\n",
        "subject,view,estimated_HU_at_255,pixel_mm\nA,axial,1000,0\n",
        "subject,view,estimated_HU_at_255\nA\n",
        b"\xff\xfe\x00",
    ],
)
def test_a_table_that_is_none_is_refused_in_one_line(text, tmp_path):
    table = tmp_path / TABLES[0]
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputRejectedError, match=r"ct_scale.csv: needs the columns") as error:
        read_scales(table)
    assert "\n" not in str(error.value)


def test_pictures_that_cannot_be_a_pair_are_refused(tmp_path):
    write_png(tmp_path, ["A"], ["axial"])
    folder = tmp_path / "A"
    ct = picture_of((head()[1].array / 8 + 128).astype(np.uint8), "axial")

    def refused(picture, told, name="ct_axial.png"):
        imsave(folder / name, picture, check_contrast=False)
        with pytest.raises(InputRejectedError, match=told):
            subject(tmp_path).read()

    refused(ct[:-2], "axial MR has .* pixels, its CT .*; resample them first")
    refused(ct.astype(np.uint16), "has uint16 pixels")
    refused(np.stack([ct] * 3, axis=-1), "8-bit grey values are needed")
    imsave(folder / "ct_axial.png", ct, check_contrast=False)
    refused(np.zeros_like(ct), "axial body mask is empty", "mask_axial.png")
    refused(np.zeros_like(ct)[1:], "axial body mask .* does not fit", "mask_axial.png")


@pytest.mark.parametrize("kept", [0, 60, 200])
def test_a_cut_picture_is_refused(kept, tmp_path):
    write_png(tmp_path, ["A"], ["axial"])
    path = tmp_path / "A" / "mri_axial.png"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputRejectedError, match=r"mri_axial.png cannot be read as PNG"):
        subject(tmp_path).read()


def test_pictures_of_unknown_views_are_told(tmp_path):
    write_png(tmp_path, ["A"], ["axial"])
    for picture in (tmp_path / "A").iterdir():
        picture.rename(picture.with_name(picture.name.replace("axial", "tilted")))
    with pytest.raises(InputRejectedError, match="no picture of a known view"):
        subject(tmp_path).read()


def test_a_folder_without_pictures_has_another_layout(tmp_path):
    assert find(tmp_path) == []
