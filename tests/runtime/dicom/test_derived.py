from datetime import UTC, datetime

import pytest
from pydicom import Dataset

from mrct_runtime.dicom import Derivation
from mrct_runtime.dicom.derived import (
    decimal,
    equipment_items,
    inherit_study,
    local_time,
    plain,
    series_number,
)
from mrct_runtime.errors import UsageError

DERIVATION = Derivation(
    software_version="1.2.3",
    bundle="pelvis",
    bundle_sha256="ab" * 32,
    sampler="em, 500 steps",
    mc=10,
    seed=7,
    text="Tested.",
    made_at=datetime(2026, 3, 4, 23, 30, tzinfo=UTC),
)


def test_the_description_says_by_what_and_how_it_was_made():
    for part in (
        "SYNTHETIC CT - RESEARCH USE ONLY",
        "mrct 1.2.3",
        "bundle pelvis",
        "ab" * 32,
        "em, 500 steps",
        "10 Monte Carlo samples",
        "seed 7",
        "Tested.",
    ):
        assert part in DERIVATION.description


def test_text_fits_its_element():
    assert plain("100 % \\ größer", 8) == "100 % / "[:8]
    assert plain("größe", 10) == "gr??e"
    long = Derivation("1", "b" * 100, "c" * 64, "s", 1, 0, text="t" * 2000)
    assert len(long.description) == 1024
    assert [len(v) for v in long.software_versions] == [6, 64, 64]


@pytest.mark.parametrize("value", [1 / 3, -123.456789012345678, 1e-12, 2.0, -1e22])
def test_decimal_strings_have_16_characters_at_most(value):
    assert len(decimal(value)) <= 16
    assert float(decimal(value)) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(
    ("source", "kind", "number"),
    [("4", 1, 401), ("4", 2, 402), (None, 1, 1), ("2000000000", 2, 102), ("-5", 1, 101)],
)
def test_series_numbers_follow_the_source(source, kind, number):
    header = Dataset()
    if source:
        header.SeriesNumber = source
    assert series_number(header, kind) == number


@pytest.mark.parametrize(
    ("offset", "day"), [("+0100", 5), ("-0500", 4), ("", 4), ("nonsense", 4), (None, 4)]
)
def test_times_follow_the_clock_of_the_source(offset, day):
    header = Dataset()
    if offset is not None:
        header.add_new("TimezoneOffsetFromUTC", "SH", offset)
    at = local_time(header, DERIVATION)
    assert at == DERIVATION.made_at
    assert at.day == day


def test_what_must_be_present_is_present_and_empty():
    target = Dataset()
    inherit_study(target, Dataset(), "1.2.3")
    for keyword in ("PatientName", "PatientID", "PatientSex", "StudyID", "AccessionNumber"):
        assert keyword in target
        assert not target[keyword].value
    assert "BodyPartExamined" not in target
    assert target.FrameOfReferenceUID == "1.2.3"


def test_an_unknown_scanner_is_named_so():
    scanner, program = equipment_items(Dataset(), DERIVATION, DERIVATION.made_at)
    assert scanner.Manufacturer == "unknown"
    assert program.SoftwareVersions == ["mrct 1.2.3", "pelvis", "ab" * 32]
    assert program.ContributionDateTime == "20260304233000"


def test_a_derivation_is_sensible():
    with pytest.raises(UsageError, match="at least one sample"):
        Derivation("1", "b", "c", "em", 0, 0)
    with pytest.raises(UsageError, match="time zone"):
        Derivation("1", "b", "c", "em", 1, 0, made_at=datetime(2026, 1, 1))  # noqa: DTZ001
    assert Derivation("1", "b", "c", "em", 1, 0).made_at.tzinfo is not None
