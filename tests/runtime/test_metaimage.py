import numpy as np
import pytest
import SimpleITK as sitk
from dicom_study import make_grid
from paired_sets import head, write_volume

from mrct_runtime.errors import InputRejectedError
from mrct_runtime.metaimage import read_metaimage


@pytest.mark.parametrize("angles", [(0, 0, 0), (18, -7, 3)])
def test_every_voxel_is_where_simpleitk_wrote_it(angles, tmp_path):
    mr, _, _ = head(make_grid((4, 20, 24), (4.0, 1.5, 1.25), angles))
    write_volume(tmp_path / "mr.mha", mr)
    read = read_metaimage(tmp_path / "mr.mha")
    np.testing.assert_array_equal(read.array, mr.array)
    assert read.array.dtype == np.float32
    assert read.grid.matches(mr.grid, tolerance_mm=1e-4)


def test_what_is_no_volume_is_refused_by_name(tmp_path):
    path = tmp_path / "mr.mha"
    path.write_text("no header")
    with pytest.raises(InputRejectedError, match=r"mr.mha cannot be read as MetaImage"):
        read_metaimage(path)
    for image in (sitk.Image(4, 5, sitk.sitkInt16), sitk.Image([4, 5, 6], sitk.sitkVectorInt16, 2)):
        sitk.WriteImage(image, str(path))
        with pytest.raises(InputRejectedError, match="a volume of one value is needed"):
            read_metaimage(path)
