import json
import os
import subprocess
import sys
import time
from pathlib import Path

import killed_spool
import pytest

from mrct_runtime.node.configuration import Retries
from mrct_runtime.node.incoming import Incoming
from mrct_runtime.node.jobs import jobs
from mrct_runtime.node.pipeline import Outcome, Pipeline
from mrct_runtime.node.spool import DONE, FAILED, JOB_STATES, QUEUED, RUNNING, SENDING, claimed

AT_ONCE = Retries(attempts=3, first_s=1e-3, longest_s=1e-3)
TWICE = Retries(attempts=2, first_s=1e-3, longest_s=1e-3)
LATER = Retries(attempts=3, first_s=3600, longest_s=3600)


@pytest.fixture
def told():
    return []


@pytest.fixture
def pipeline(tmp_path, told):
    with claimed(tmp_path / "spool") as spool:
        yield Pipeline(spool, lambda event, **facts: told.append({"event": event, **facts}))


def queue(pipeline, *instances, study="1.2.3"):
    incoming = Incoming(pipeline.spool, 100)
    for uid in instances:
        received = pipeline.spool["receiving"] / "file"
        received.write_text(uid)
        incoming.take(received, study, uid)
    return incoming.close(*incoming.complete(0, 0))


def states(pipeline):
    return [job.state for job in jobs(pipeline.spool, *JOB_STATES)]


def make_result(job):
    job.result.mkdir()
    (job.result / "a.dcm").write_text("a")
    return Outcome("done")


def test_killed_before_any_change_of_the_disk_a_spool_ends_with_each_job_and_one_result_of_it(
    tmp_path,
):
    script = Path(killed_spool.__file__)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, script, tmp_path, "0"],
        env=environment,
        check=True,
        capture_output=True,
        timeout=300,
    )
    stories = json.loads(done.stdout)
    assert len(stories) > 60
    for story in stories:
        first = len(killed_spool.INSTANCES)
        assert story["states"] == ["done", "done"], story
        assert story["instances"] == [first, first + len(killed_spool.LATER)], story
        assert story["destination"] == 2 * killed_spool.IMAGES, story
        assert story["left"] == 0, story


def test_a_job_goes_from_the_queue_to_done(pipeline):
    queue(pipeline, "1")
    seen = []

    def translate(job):
        seen.append(job.state)
        return make_result(job)

    assert pipeline.translate_next(translate, AT_ONCE)
    assert states(pipeline) == [SENDING]
    assert pipeline.send_next(lambda job: Outcome("done"), AT_ONCE)
    assert states(pipeline) == [DONE]
    assert seen == [RUNNING]
    assert not pipeline.translate_next(translate, AT_ONCE)
    assert not pipeline.send_next(translate, AT_ONCE)


def test_a_result_that_is_there_is_sent_however_the_child_ended(pipeline):
    queue(pipeline, "1")
    pipeline.translate_next(lambda job: make_result(job) and Outcome("retry", "killed"), AT_ONCE)
    assert states(pipeline) == [SENDING]


def test_after_so_many_failures_a_job_is_given_up_and_its_reason_is_kept(pipeline, told):
    queue(pipeline, "1")
    for _ in range(3):
        time.sleep(0.002)
        pipeline.translate_next(lambda job: Outcome("retry", "exit code 7", "no GPU"), AT_ONCE)
    assert states(pipeline) == [FAILED]
    (job,) = jobs(pipeline.spool, FAILED)
    assert job.record.reason == "no GPU"
    assert "no GPU" not in str(told)
    assert [event["failures"] for event in told if event["event"] == "failed"] == [3]


def test_a_failed_job_that_is_put_back_by_hand_is_tried_as_a_new_one(pipeline):
    queue(pipeline, "1")
    for state in (QUEUED, FAILED):
        pipeline.translate_next(lambda job: Outcome("retry", "busy"), TWICE)
        time.sleep(0.002)
        assert states(pipeline) == [state]
    next(jobs(pipeline.spool, FAILED)).moved(pipeline.spool, QUEUED)
    pipeline.translate_next(lambda job: Outcome("retry", "busy"), TWICE)
    assert states(pipeline) == [QUEUED]


def test_what_never_can_be_translated_is_given_up_at_once(pipeline):
    queue(pipeline, "1")
    pipeline.translate_next(lambda job: Outcome("refused", "exit code 4"), LATER)
    assert states(pipeline) == [FAILED]


def test_a_failed_job_waits_and_lets_others_pass(pipeline):
    queue(pipeline, "1", study="1.1")
    queue(pipeline, "2", study="1.2")
    pipeline.translate_next(lambda job: Outcome("retry", "busy"), LATER)
    assert pipeline.translate_next(make_result, LATER)
    assert states(pipeline) == [QUEUED, SENDING]
    assert not pipeline.translate_next(make_result, LATER)


def test_an_interruption_is_no_failure(pipeline):
    queue(pipeline, "1")
    for _ in range(9):
        pipeline.translate_next(lambda job: Outcome("stopped"), AT_ONCE)
    assert states(pipeline) == [QUEUED]
    assert next(jobs(pipeline.spool, QUEUED)).record.failures == 0


def test_a_restart_puts_a_job_back_or_sends_the_result_that_it_made(pipeline):
    first = queue(pipeline, "1", study="1.1").moved(pipeline.spool, RUNNING)
    second = queue(pipeline, "2", study="1.2").moved(pipeline.spool, RUNNING)
    make_result(second)
    for job in (first, second):
        (job.folder / ".result.work").mkdir()
    pipeline.recover()
    assert states(pipeline) == [QUEUED, SENDING]
    # where the translation stood is kept until its result is there
    assert len(list(pipeline.spool[QUEUED].glob("*/.result.work"))) == 1
    assert not list(pipeline.spool[SENDING].glob("*/.result.work"))


def test_a_queued_job_gives_way_to_a_later_one_of_its_study(pipeline, told):
    queue(pipeline, "1")
    queue(pipeline, "2")
    assert pipeline.translate_next(make_result, AT_ONCE)
    assert not pipeline.translate_next(make_result, AT_ONCE)
    (job,) = jobs(pipeline.spool, *JOB_STATES)
    assert len(list(job.instances.iterdir())) == 2
    assert [event["event"] for event in told].count("superseded") == 1


def test_sending_is_tried_again_and_given_up_after_so_many_failures(pipeline):
    queue(pipeline, "1")
    pipeline.translate_next(make_result, AT_ONCE)
    for expected in (SENDING, SENDING, FAILED):
        time.sleep(0.002)
        pipeline.send_next(lambda job: Outcome("retry", "no association"), AT_ONCE)
        assert states(pipeline) == [expected]
    assert next(jobs(pipeline.spool, FAILED)).result.is_dir()


def test_done_jobs_are_deleted_after_their_time_and_failed_ones_are_kept(pipeline):
    for state, study in ((DONE, "1.1"), (DONE, "1.2"), (FAILED, "1.3")):
        job = queue(pipeline, "1", study=study).moved(pipeline.spool, state)
        job.rewrite(finished=time.time() - (0 if study == "1.2" else 8 * 86400))
    pipeline.forget(7)
    left = {(job.state, job.record.study_uid) for job in jobs(pipeline.spool, *JOB_STATES)}
    assert left == {(DONE, "1.2"), (FAILED, "1.3")}


def test_a_line_of_the_sent_files_that_a_crash_cut_does_not_count(pipeline):
    job = queue(pipeline, "1")
    job.note_sent("sct/a.dcm")
    job.note_sent("sct/b.dcm")
    with (job.folder / "sent").open("a") as file:
        file.write("sct/c.d")
    assert job.sent() == {"sct/a.dcm", "sct/b.dcm"}


def test_neither_a_foreign_file_nor_a_damaged_record_stands_in_the_way(pipeline):
    damaged = queue(pipeline, "1", study="1.1")
    (damaged.folder / "job.json").write_text("{")
    (pipeline.spool[QUEUED] / "notes.txt").write_text("mine")
    queue(pipeline, "2", study="1.2")
    assert pipeline.translate_next(make_result, AT_ONCE)
    assert pipeline.translate_next(make_result, AT_ONCE)
    assert states(pipeline) == [SENDING] * 2
