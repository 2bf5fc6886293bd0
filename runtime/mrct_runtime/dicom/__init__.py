"""DICOM in and out: read_study and read_pair, write_ct_series and write_parametric_map."""

from mrct_runtime.dicom.derived import Derivation
from mrct_runtime.dicom.grouping import SeriesGroup
from mrct_runtime.dicom.parametric_map import write_parametric_map
from mrct_runtime.dicom.reading import Series, read_pair, read_series, read_study
from mrct_runtime.dicom.scanning import Scan, scan
from mrct_runtime.dicom.selection import Verdict, choose_mr, judge
from mrct_runtime.dicom.writing import WrittenSeries, write_ct_series

__all__ = [
    "Derivation",
    "Scan",
    "Series",
    "SeriesGroup",
    "Verdict",
    "WrittenSeries",
    "choose_mr",
    "judge",
    "read_pair",
    "read_series",
    "read_study",
    "scan",
    "write_ct_series",
    "write_parametric_map",
]
