import uuid
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from dicom_study import make_grid, write_series
from pydicom.uid import UID

from mrct_runtime.dicom import Derivation, read_study
from mrct_runtime.dicom.naming import series_uid
from mrct_runtime.dicom.uids import content_uid

DERIVATION = Derivation("1.2.3", "pelvis", "ab" * 32, "em, 500 steps", mc=(10, 10), seed=7)


@pytest.fixture
def source(tmp_path):
    write_series(tmp_path / "mr", make_grid((8, 6, 5)))
    return read_study(tmp_path / "mr")


def test_a_uid_is_valid_and_that_of_a_uuid_of_version_8():
    for n in range(200):
        uid = content_uid("part", str(n))
        assert UID(uid).is_valid
        found = uuid.UUID(int=int(uid.removeprefix("2.25.")))
        assert (found.version, found.variant) == (8, uuid.RFC_4122)


def test_the_same_parts_have_the_same_uid_and_parts_do_not_run_together():
    assert content_uid("a", "b") == content_uid("a", "b")
    assert len({content_uid("a", "b"), content_uid("ab"), content_uid("ab", "")}) == 3


def test_a_series_is_another_one_where_anything_but_its_time_is(source):
    array = source.volume.array
    same = series_uid("CT", array, source, DERIVATION)
    later = replace(DERIVATION, made_at=DERIVATION.made_at + timedelta(hours=1))
    assert series_uid("CT", array.copy(), source, later) == same
    nudged = array.copy()
    nudged[7, 5, 4] = np.nextafter(nudged[7, 5, 4], np.float32(np.inf))
    others = [
        series_uid("STD", array, source, DERIVATION),
        series_uid("CT", nudged, source, DERIVATION),
        series_uid("CT", array.astype(np.float64), source, DERIVATION),
        series_uid("CT", array, replace(source, uid="1.2.3"), DERIVATION),
        series_uid("CT", array, replace(source, headers=source.headers[:-1]), DERIVATION),
        series_uid("CT", array, replace(source, frame_of_reference_uid="1.2"), DERIVATION),
        series_uid("CT", array, source, replace(DERIVATION, seed=8)),
        series_uid("CT", array, source, DERIVATION, "120"),
    ]
    assert len({same, *others}) == 9
