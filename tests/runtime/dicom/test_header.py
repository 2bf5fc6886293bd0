import warnings

import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from mrct_runtime.dicom.header import number, numbers, only_number, silenced, text


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


@pytest.mark.parametrize("kind", ["US", "FD", "AT", "SL"])
def test_a_number_of_too_few_bytes_is_nothing(kind):
    header, tag = Dataset(), Tag("Rows")
    header[tag] = RawDataElement(tag, kind, 3, b"\1\2\3", 0, False, True)
    assert text(header, "Rows") == ""
    assert number(header, "Rows") is None


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


def test_an_only_number_is_one_and_what_is_none_is_told_from_what_is_absent(header):
    header.RescaleSlope, header.RescaleIntercept = "2.5", ""
    assert only_number(header, "RescaleSlope") == 2.5
    assert only_number(header, "RescaleIntercept") is None
    assert only_number(header, "FlipAngle") is None
    for keyword in ("PixelSpacing", "RepetitionTime"):
        with pytest.raises(ValueError, match=f"{keyword} is not one number"):
            only_number(header, keyword)
