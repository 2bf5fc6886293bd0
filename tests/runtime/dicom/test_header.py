import warnings

import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from mrct_runtime.dicom.header import number, numbers, silenced, text


@pytest.fixture
def header():
    header = Dataset()
    header.ImageType = ["DERIVED", "PRIMARY"]
    header.EchoTime = "104"
    header.PixelSpacing = ["0.5", "0.25"]
    header.SeriesDescription = ""
    damaged = Tag("RepetitionTime")
    header[damaged] = RawDataElement(damaged, "DS", 4, b"soon", 0, False, True)
    return header


def test_values_come_as_plain_python(header):
    assert text(header, "ImageType") == "DERIVED\\PRIMARY"
    assert number(header, "EchoTime") == 104.0
    assert numbers(header, "PixelSpacing", 2) == (0.5, 0.25)
    assert number(header, "PixelSpacing") == 0.5


def test_several_binary_numbers_come_as_several_decimal_ones_do():
    header = Dataset()
    header.InversionTimes = [900.0, 1200.0]
    assert text(header, "InversionTimes") == "900.0\\1200.0"
    assert number(header, "InversionTimes") == 900.0
    assert numbers(header, "InversionTimes", 2) == (900.0, 1200.0)


def test_absent_empty_and_damaged_elements_are_nothing(header):
    assert text(header, "ProtocolName") == text(header, "SeriesDescription") == ""
    assert number(header, "FlipAngle") is None
    assert number(header, "RepetitionTime") is None
    assert numbers(header, "PixelSpacing", 3) is None


def test_warnings_are_held_back_even_where_they_are_errors():
    with silenced():
        warnings.warn("a value", stacklevel=1)
    with pytest.warns(UserWarning, match="later"):
        warnings.warn("later", stacklevel=1)
