from collections import deque
from pathlib import Path

import pytest

from mrct_runtime.errors import EngineError
from mrct_runtime.many.outcome import Outcome
from mrct_runtime.many.studies import Study
from mrct_runtime.many.supervisor import MOST_DEATHS, Word, supervise

STUDIES = [Study(Path(f"s{k}"), f"s{k}", f"{k:016x}") for k in range(8)]


def outcome(study):
    return Outcome(id=study.id, code=0, attempts=1, seconds=1.0)


class Script:
    """A crew that does what it is given in turn; `dies(worker, study)` says at which studies a worker dies."""

    def __init__(self, workers, dies=lambda worker, study: False, stillborn=0):
        self.said = deque((worker, Word.DIED) for worker in range(stillborn))
        self.said.extend((worker, Word.READY) for worker in range(workers))
        self.dies, self.given, self.busy = dies, [], set()

    def give(self, worker, study):
        assert worker not in self.busy
        self.busy.add(worker)
        self.given.append((worker, study.name))
        if self.dies(worker, study):
            self.said.extend([(worker, Word.DIED), (worker, Word.READY)])
        else:
            self.said.append((worker, outcome(study)))

    def wait(self):
        worker, answer = self.said.popleft()
        self.busy.discard(worker)
        return worker, answer


def supervised(crew, studies=STUDIES):
    heard = {}

    def hear(study, outcome):
        assert study.id not in heard
        heard[study.id] = outcome

    supervise(crew, studies, hear)
    return heard


def test_each_study_is_done_once_and_by_every_worker_some():
    crew = Script(3)
    heard = supervised(crew)
    assert heard == {study.id: outcome(study) for study in STUDIES}
    assert sorted(name for _, name in crew.given) == sorted(study.name for study in STUDIES)
    assert {worker for worker, _ in crew.given} == {0, 1, 2}


def test_more_workers_than_studies_are_no_harm():
    assert len(supervised(Script(20))) == 8
    assert supervised(Script(2), []) == {}


def test_the_study_of_a_dead_worker_is_given_again():
    died = []

    def dies(worker, study):
        died.append(study.name)
        return study.name == "s2" and died.count("s2") == 1

    crew = Script(2, dies)
    assert supervised(crew) == {study.id: outcome(study) for study in STUDIES}
    assert sum(name == "s2" for _, name in crew.given) == 2


def test_an_idle_worker_takes_over_where_another_dies_at_the_last_study():
    crew = Script(2, lambda worker, study: worker == 1)
    heard = supervised(crew, STUDIES[:2])
    assert all(each.finished for each in heard.values())
    assert (0, "s1") in crew.given or (0, "s0") in crew.given


def test_a_study_that_kills_every_worker_is_given_up_and_the_others_are_done():
    crew = Script(2, lambda worker, study: study.name == "s3")
    heard = supervised(crew)
    assert sum(name == "s3" for _, name in crew.given) == MOST_DEATHS
    failed = {id_: each for id_, each in heard.items() if not each.finished}
    assert list(failed) == [STUDIES[3].id]
    assert "workers died in the middle of this study" in failed[STUDIES[3].id].reason


def test_workers_that_die_before_their_first_study_end_the_run():
    assert len(supervised(Script(2, stillborn=MOST_DEATHS - 1))) == 8
    with pytest.raises(EngineError, match="died before they were given a study"):
        supervised(Script(2, stillborn=MOST_DEATHS))
