from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydicom import Dataset, dcmread

from mrct_runtime.dicom import Derivation
from mrct_runtime.dicom.derived import (
    decimal,
    equipment_items,
    inherit_study,
    inherit_thickness,
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
    mc=(10, 10),
    seed=7,
    text="Tested.",
    made_at=datetime(2026, 3, 4, 23, 30, tzinfo=UTC),
)


def test_the_description_tells_the_fewest_and_the_most_samples_of_a_slice():
    assert ", 4 to 32 Monte Carlo samples, " in replace(DERIVATION, mc=(4, 32)).description
    assert ", 4 Monte Carlo samples, " in replace(DERIVATION, mc=(4, 4)).description
    assert ", 1 Monte Carlo sample, " in replace(DERIVATION, mc=(1, 1)).description


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
    long = Derivation("1", "b" * 100, "c" * 64, "s", (1, 1), 0, text="t" * 2000)
    assert len(long.description) == 1024
    assert [len(v) for v in long.software_versions] == [6, 64, 23]


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
    ("offset", "day"),
    [("+0100", 5), ("-0500", 4), ("", 4), ("nonsense", 4), ("+2500", 4), ("+0175", 4), (None, 4)],
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


@pytest.mark.parametrize(("offset", "kept"), [("-0930", True), ("+01", False), ("CET", False)])
def test_a_time_zone_that_is_none_is_left_out(offset, kept):
    header, target = Dataset(), Dataset()
    header.add_new("TimezoneOffsetFromUTC", "SH", offset)
    inherit_study(target, header, "1.2.3")
    assert ("TimezoneOffsetFromUTC" in target) == kept


@pytest.mark.parametrize(
    ("names", "encoding", "expected"),
    [
        ("ISO_IR 144", "iso8859_5", "ISO_IR 144"),
        ("ISO-IR 144", "iso8859_5", "ISO_IR 192"),
        ("LATIN", "latin_1", "ISO_IR 100"),
        ("\\NOTHING", "latin_1", "ISO_IR 100"),
    ],
    ids=["known", "misspelt", "unknown", "unknown second"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_unknown_character_set_is_replaced_by_one_that_holds_the_text(
    names, encoding, expected, tmp_path
):
    name = "Доу^Я" if encoding == "iso8859_5" else "Größe^Zoë"
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 144" if encoding == "iso8859_5" else "ISO_IR 100"
    header.PatientName = name
    header.save_as(tmp_path / "in", implicit_vr=False, little_endian=True)
    content = (tmp_path / "in").read_bytes()
    # The set's own element is made anew; the bytes of the name stay.
    sets = names.encode() + b" " * (len(names) % 2)
    start = content.index(b"\x10\x00\x10\x00")
    element = b"\x08\x00\x05\x00CS" + len(sets).to_bytes(2, "little") + sets
    (tmp_path / "in").write_bytes(element + content[start:])
    target = Dataset()
    inherit_study(target, dcmread(tmp_path / "in", force=True), "1.2.3")
    target.save_as(tmp_path / "out", implicit_vr=False, little_endian=True)
    found = dcmread(tmp_path / "out", force=True)
    assert (found.SpecificCharacterSet, found.PatientName) == (expected, name)


@pytest.mark.parametrize(
    ("thickness", "expected"),
    [
        ("4.50", "4.50"),
        (["3", "4"], "2.5"),
        ("0", "2.5"),
        ("-3", "2.5"),
        ("", "2.5"),
        (None, "2.5"),
    ],
)
def test_only_one_positive_thickness_is_copied(thickness, expected):
    header, target = Dataset(), Dataset()
    if thickness is not None:
        header.SliceThickness = thickness
    inherit_thickness(target, header, 2.5)
    assert str(target.SliceThickness) == expected


def test_an_unknown_scanner_is_named_so():
    scanner, program = equipment_items(Dataset(), DERIVATION, DERIVATION.made_at)
    assert scanner.Manufacturer == "unknown"
    assert program.SoftwareVersions == ["mrct 1.2.3", "pelvis", "sha256 " + "ab" * 8]
    assert program.ContributionDateTime == "20260304233000"


def test_a_derivation_is_sensible():
    with pytest.raises(UsageError, match="at least one sample"):
        Derivation("1", "b", "c", "em", (0, 4), 0)
    with pytest.raises(UsageError, match="time zone"):
        Derivation("1", "b", "c", "em", (1, 1), 0, made_at=datetime(2026, 1, 1))  # noqa: DTZ001
    assert Derivation("1", "b", "c", "em", (1, 1), 0).made_at.tzinfo is not None


@pytest.mark.parametrize(
    ("told", "kept"), [("0Y", "000Y"), ("063Y", "063Y"), ("12W", "012W"), ("sixty", None)]
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_age_has_three_digits_or_is_left_out(told, kept):
    header, target = Dataset(), Dataset()
    header.add_new("PatientAge", "AS", told)
    inherit_study(target, header, "1.2.3")
    assert target.get("PatientAge") == kept


@pytest.mark.parametrize(
    ("part", "side", "expected"),
    [("PELVIS", "", None), ("KNEE", "L", "L"), ("", "", ""), (None, None, ""), (None, "R", "R")],
)
def test_a_side_is_told_unless_the_body_part_has_none(part, side, expected):
    header, target = Dataset(), Dataset()
    for keyword, value in (("BodyPartExamined", part), ("Laterality", side)):
        if value is not None:
            setattr(header, keyword, value)
    inherit_study(target, header, "1.2.3")
    assert ("Laterality" in target) == (expected is not None)
    assert (target.get("Laterality") or "") == (expected or "")
