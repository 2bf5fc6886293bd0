import subprocess
import sys
from pathlib import Path

import pytest

from mrct_runtime.errors import NoInputError, OutputError, UsageError
from mrct_runtime.many.studies import claim_key, find_studies, keyed_id, refuse_the_study

KEY = bytes(range(32))


def make(folder, *names):
    for name in names:
        if name.endswith("/"):
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(b"")
    return folder


def test_folders_and_volumes_are_studies_in_the_order_of_their_names(tmp_path):
    make(tmp_path, "beta/", "alpha.nii.gz", "gamma.mha", ".hidden/", "notes.txt", "delta.dcm")
    found = find_studies(tmp_path, KEY)
    assert [study.name for study in found] == ["alpha", "beta", "gamma"]
    assert [study.path.name for study in found] == ["alpha.nii.gz", "beta", "gamma.mha"]


def test_two_studies_of_one_name_are_refused_without_telling_it(tmp_path):
    make(tmp_path, "miller/", "miller.mha")
    with pytest.raises(UsageError, match="one name but for their format") as refused:
        find_studies(tmp_path, KEY)
    assert "miller" not in str(refused.value)


def test_a_folder_without_studies_is_no_input(tmp_path):
    with pytest.raises(NoInputError, match="no studies there"):
        find_studies(make(tmp_path, "a.dcm"), KEY)
    with pytest.raises(NoInputError, match="no such folder"):
        find_studies(tmp_path / "absent", KEY)


def test_an_id_depends_on_the_name_and_on_the_secret():
    ids = {keyed_id(name, key) for name in ("a", "b") for key in (KEY, KEY[::-1])}
    assert len(ids) == 4
    assert keyed_id("a", KEY) == keyed_id("a", KEY)
    assert all(len(each) == 16 for each in ids)


def test_a_name_that_is_no_text_has_an_id_too():
    assert keyed_id(bytes([0xFF]).decode("utf-8", "surrogateescape"), KEY)


def test_what_is_told_of_a_study_has_neither_its_paths_nor_its_name(tmp_path):
    (study,) = find_studies(make(tmp_path, "miller/"), KEY)
    place = Path("outs/miller")
    told = study.anonymous(
        f"{place.absolute()} and {place} and outs/.miller.work/lock of {study.path} by miller, not millers",
        place,
    )
    assert "miller" not in told.replace("not millers", "")
    assert told.endswith(f"by {study.id}, not millers")


def test_all_processes_that_ask_at_once_get_one_secret(tmp_path):
    code = (
        "import sys; from pathlib import Path; from mrct_runtime.many.studies import claim_key\n"
        "sys.stdin.read(); print(claim_key(Path(sys.argv[1])).hex())"
    )
    asking = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "key"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for each in asking:
        each.stdin.close()
    got = {each.stdout.read() for each in asking}
    for each in asking:
        each.stdout.close()
        assert each.wait() == 0
    assert got == {claim_key(tmp_path / "key").hex().encode() + b"\n"}
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_damaged_secret_is_told(tmp_path):
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(OutputError, match="has 5 bytes, not 32: it is damaged"):
        claim_key(tmp_path / "key")


@pytest.mark.parametrize("place", ["study", "."])
def test_a_result_in_the_place_of_its_study_is_refused(place, tmp_path, monkeypatch):
    monkeypatch.chdir(make(tmp_path, "study/"))
    with pytest.raises(UsageError, match="is or holds the study itself"):
        refuse_the_study(Path(place), Path("study"))
