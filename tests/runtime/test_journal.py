import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from mrct_runtime.errors import OutputError
from mrct_runtime.finished import Batch, Finished
from mrct_runtime.journal import Journal

IMAGES = np.random.default_rng(0).normal(size=(3, 2, 6, 5))


def finished(place: int) -> Finished:
    return Finished(place, *IMAGES[place], (2, 4))


def batch(place: int) -> Batch:
    return Batch(place, 4, 4, 10, 80)


@pytest.fixture
def folder(tmp_path):
    with Journal.open(tmp_path / "journal", "mine") as journal:
        for place in range(3):
            journal.keep(finished(place))
            journal.drawn(batch(place))
    return tmp_path / "journal"


def past(folder, owner="mine"):
    with Journal.open(folder, owner) as journal:
        return journal.past


def test_what_was_kept_comes_back_to_the_bit(folder):
    found = past(folder)
    assert found.batches == [batch(place) for place in range(3)]
    for place in range(3):
        assert np.array_equal(found.finished[place].mean, IMAGES[place, 0])
        assert np.array_equal(found.finished[place].std, IMAGES[place, 1])
        assert found.finished[place].planned == (2, 4)


@pytest.mark.parametrize("header", [b"((((((((", b"1 << 2, ", b"{'descr("])
def test_a_slice_with_a_header_that_is_none_is_drawn_again(folder, header):
    path = folder / "slice-0002.npy"
    content = path.read_bytes().replace(b"{'descr'", header)
    path.write_bytes(content)
    told = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for line in told:
        if line.get("slice", {}).get("place") == 1:
            line["slice"]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    assert sorted(past(folder).finished) == [0, 2]


def test_the_journal_of_something_else_is_begun_anew(folder):
    assert not past(folder, "theirs").finished
    assert not past(folder, "mine").finished
    assert [path.name for path in folder.iterdir()] == ["log.jsonl"]


def test_a_log_that_is_cut_anywhere_gives_what_stands_in_its_whole_lines(folder):
    log = (folder / "log.jsonl").read_bytes()
    lines = log.splitlines(keepends=True)
    for length in range(len(log)):
        (folder / "log.jsonl").write_bytes(log[:length])
        whole = log[:length].count(b"\n")
        if whole == 0:
            continue
        with Journal.open(folder, "mine") as journal:
            found = journal.past
        assert len(found.finished) == whole // 2
        assert len(found.batches) == (whole - 1) // 2
        # a torn line is gone, so that the next one stands alone
        assert (folder / "log.jsonl").read_bytes() == b"".join(lines[:whole])


def test_lines_behind_a_damaged_one_count_for_nothing(folder):
    log = (folder / "log.jsonl").read_bytes()
    lines = log.splitlines(keepends=True)
    for damage in (b"\0" * 40 + b"\n", b'{"batch": {"place": 0}}\n', b'{"slice": 3}\n', b"[]\n"):
        (folder / "log.jsonl").write_bytes(b"".join([*lines[:3], damage, *lines[3:]]))
        found = past(folder)
        assert (len(found.finished), len(found.batches)) == (1, 1)
        (folder / "log.jsonl").write_bytes(log)


@pytest.mark.parametrize("damage", ["a flipped bit", "cut", "gone", "a pickle"])
def test_a_slice_whose_file_is_not_what_was_written_is_not_finished(damage, folder):
    path = folder / "slice-0002.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    if damage == "gone":
        path.unlink()
    elif damage == "a pickle":
        np.save(path, np.array([{}], object), allow_pickle=True)
    else:
        path.write_bytes(content if damage == "a flipped bit" else content[:-8])
    assert set(past(folder).finished) == {0, 2}


def test_a_batch_that_was_drawn_again_takes_the_place_of_those_from_there_on(folder):
    again = Batch(1, 2, 2, 5, 40)
    with Journal.open(folder, "mine") as journal:
        journal.drawn(again)
    assert past(folder).batches == [batch(0), again]


def test_a_slice_of_the_past_is_not_written_again(folder):
    before = (folder / "log.jsonl").stat().st_size
    with Journal.open(folder, "mine") as journal:
        journal.keep(journal.past.finished[1])
        assert (folder / "log.jsonl").stat().st_size == before
        journal.keep(finished(1))
        assert (folder / "log.jsonl").stat().st_size > before


def test_arrays_that_belong_to_a_slice_come_back_with_it(folder):
    samples, seconds = np.random.default_rng(1).random((4, 6, 5), np.float32), np.array(1.25)
    with Journal.open(folder, "mine") as journal:
        journal.keep(Finished(5, *IMAGES[0], (4,)), samples, seconds)
    with Journal.open(folder, "mine") as journal:
        assert np.array_equal(journal.past.finished[5].mean, IMAGES[0, 0])
        found = journal.beside(5)
        assert journal.beside(1) == ()
    assert [each.dtype for each in found] == [np.float32, np.float64]
    assert np.array_equal(found[0], samples)
    assert found[1] == seconds
    content = bytearray((folder / "slice-0006.npy").read_bytes())
    content[-100] ^= 1
    (folder / "slice-0006.npy").write_bytes(content)
    assert 5 not in past(folder).finished


def test_it_holds_nothing_but_digests_places_and_images(folder):
    keys = {"of", "slice", "batch"}
    for line in (folder / "log.jsonl").read_text().splitlines():
        (key,) = json.loads(line)
        assert key in keys
    assert folder.stat().st_mode & 0o077 == 0


def test_a_disk_that_is_full_is_an_output_error(folder):
    script = (
        "import resource, signal, sys\n"
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from mrct_runtime.errors import OutputError\n"
        "from mrct_runtime.finished import Finished\n"
        "from mrct_runtime.journal import Journal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "journal = Journal.open(Path(sys.argv[1]), 'mine')\n"
        "image = np.zeros((64, 64))\n"
        "try:\n"
        "    journal.keep(Finished(4, image, image, (2,)))\n"
        "except OutputError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", script, str(folder)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "cannot be written: file too large" in told
    # nothing half-written counts, nor lies about
    assert set(past(folder).finished) == {0, 1, 2}
    assert sorted(path.name for path in folder.iterdir()) == [
        "log.jsonl",
        *(f"slice-000{place}.npy" for place in (1, 2, 3)),
    ]


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        Journal.open(tmp_path / "file" / "journal", "mine")
