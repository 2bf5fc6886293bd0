import pytest

from mrct_runtime.errors import OutputError
from mrct_runtime.node.incoming import Incoming
from mrct_runtime.node.jobs import jobs
from mrct_runtime.node.spool import DONE, FAILED, JOB_STATES, QUEUED, claimed

STUDY = "1.2.840.1"


@pytest.fixture
def spool(tmp_path):
    with claimed(tmp_path / "spool") as spool:
        yield spool


@pytest.fixture
def incoming(spool):
    return Incoming(spool, 4)


def take(incoming, instance, content=b"image", study=STUDY):
    path = incoming.spool["receiving"] / "file"
    path.write_bytes(content)
    return incoming.take(path, study, instance)


def close(incoming):
    (study,) = incoming.complete(0, 0)
    return incoming.close(study)


def contents(job):
    return sorted(path.read_bytes() for path in job.instances.iterdir())


def test_a_study_is_complete_when_it_is_quiet_or_old_and_becomes_a_job(incoming, spool):
    assert take(incoming, "1.1", b"a") == "stored"
    assert take(incoming, "1.2", b"b") == "stored"
    assert incoming.complete(60, 60) == []
    assert len(incoming.complete(60, 0)) == len(incoming.complete(0, 60)) == 1
    job = close(incoming)
    assert contents(job) == [b"a", b"b"]
    assert job.record.study_uid == STUDY
    assert job.state == QUEUED
    assert len(incoming) == 0
    assert list(spool["incoming"].iterdir()) == []


def test_studies_do_not_mix(incoming, spool):
    take(incoming, "1.1", study="1.2.3")
    take(incoming, "1.2", study="1.2.4")
    for study in incoming.complete(0, 0):
        incoming.close(study)
    assert {job.record.study_uid for job in jobs(spool, QUEUED)} == {"1.2.3", "1.2.4"}


def test_the_same_instance_twice_is_one_and_of_two_contents_the_latest_is_kept(incoming):
    take(incoming, "1.1", b"old")
    assert take(incoming, "1.1", b"old") == "known"
    assert take(incoming, "1.1", b"new") == "stored"
    assert contents(close(incoming)) == [b"new"]


def test_the_same_set_of_instances_makes_no_second_job(incoming, spool):
    for name in ("1.1", "1.2"):
        take(incoming, name)
    job = close(incoming).moved(spool, DONE)
    for name in ("1.2", "1.1"):
        take(incoming, name)
    assert close(incoming) is None
    take(incoming, "1.1")
    assert close(incoming) is None
    assert list(jobs(spool, *JOB_STATES)) == [job]


def test_a_failed_set_may_be_sent_again(incoming, spool):
    take(incoming, "1.1")
    close(incoming).moved(spool, FAILED)
    take(incoming, "1.1")
    assert close(incoming).serial == 2


def test_what_comes_later_makes_a_job_with_all_that_came_before(incoming, spool):
    take(incoming, "1.1", b"a")
    close(incoming).moved(spool, DONE)
    take(incoming, "1.2", b"b")
    close(incoming).moved(spool, FAILED)
    take(incoming, "1.1", b"mended")
    take(incoming, "1.3", b"c")
    assert contents(close(incoming)) == [b"b", b"c", b"mended"]


def test_a_study_has_a_largest_number_of_instances(incoming):
    assert [take(incoming, f"1.{k}") for k in range(5)] == ["stored"] * 4 + ["too many"]
    assert take(incoming, "1.0") == "known"


def test_names_of_files_are_digests_so_that_no_uid_leaves_its_folder(incoming, spool):
    take(incoming, "../../../escaped", study="../../study")
    names = {path.name for path in spool.root.parent.iterdir()}
    assert names == {"spool"}
    job = close(incoming)
    assert all(c in "0123456789abcdef-." for c in job.name)


def test_a_restart_gives_an_open_study_a_new_quiet_time(incoming, spool):
    take(incoming, "1.1")
    again = Incoming(spool, 4)
    assert again.complete(60, 60) == []
    assert contents(close(again)) == [b"image"]


def test_a_study_that_a_crash_left_without_instances_is_no_job(spool):
    (spool["incoming"] / "abc" / "study").mkdir(parents=True)
    assert close(Incoming(spool, 4)) is None
    assert list(jobs(spool, *JOB_STATES)) == []


def test_two_nodes_never_share_a_spool(spool):
    with (
        pytest.raises(OutputError, match="belongs to another running node"),
        claimed(spool.root, patience_s=0.1),
    ):
        pass


def test_nobody_else_reads_the_spool(spool):
    assert spool.root.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in spool.root.iterdir())


def test_a_new_start_empties_what_was_half_received_or_half_deleted(tmp_path):
    with claimed(tmp_path / "spool") as spool:
        (spool["receiving"] / "half").write_bytes(b"x")
        (spool["discarded"] / "job").mkdir()
        (spool["discarded"] / "job" / "file").write_bytes(b"x")
    with claimed(tmp_path / "spool") as again:
        assert list(again["receiving"].iterdir()) == list(again["discarded"].iterdir()) == []
