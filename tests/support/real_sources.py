"""Real MR series that lie beside the repository, by a short name."""

import gzip
import shutil
from pathlib import Path

from mrct_runtime.dicom import read_series, scan

# The folder of a study below the data, and the number of the series.
REAL = {
    "Siemens prostate, axial oblique": ("prostatex_mr_dicom/ProstateX", "4"),
    "Siemens prostate, sagittal": ("prostatex_mr_dicom/ProstateX", "3"),
    "Siemens prostate, coronal": ("prostatex_mr_dicom/ProstateX", "5"),
    "GE brain, uneven slices": ("ge_fse_pd_axial_dicom", "2"),
    "Philips brain, classic": ("philips_classic_and_enhanced_dicom/classic_mprage_gz", "1301"),
    "Siemens XA30, enhanced": ("siemens_xa30_enhanced_mr_dicom", "5"),
    "Siemens XA30, enhanced, one echo": ("siemens_xa30_enhanced_mr_dicom", "8:1"),
    "Philips, enhanced, magnitude": ("philips_classic_and_enhanced_dicom/enhanced", "2001:1"),
    "GE, stripped": ("vendor_small_and_compressed_dicom/ge/anatomical", "4"),
    "Siemens, stripped": ("vendor_small_and_compressed_dicom/siemens/anatomical", "4"),
    "Philips, stripped": ("vendor_small_and_compressed_dicom/philips/anatomical", "401"),
    "Hitachi, stripped": ("vendor_small_and_compressed_dicom/hitachi/anatomical", "10"),
}


def real_source(name, data, scratch):
    """The stack of that name; its files are unpacked into scratch where they are compressed."""
    place, series = REAL[name]
    folder = Path(data) / place
    # of a long series as many slices as show what it is
    packed = sorted(folder.glob("*.gz"))[:12]
    if packed:
        folder = scratch / "unpacked"
        folder.mkdir()
        for path in packed:
            with gzip.open(path) as source, (folder / path.stem).open("wb") as target:
                shutil.copyfileobj(source, target)
    (group,) = (each for each in scan(folder).groups if each.name == series)
    return read_series(group)
