import itertools

import pytest

from mrct_runtime.errors import UsageError
from mrct_runtime.many.shard import Shard

SLURM = {
    "SLURM_ARRAY_TASK_ID": "7",
    "SLURM_ARRAY_TASK_COUNT": "3",
    "SLURM_ARRAY_TASK_MIN": "5",
    "SLURM_ARRAY_TASK_MAX": "9",
    "SLURM_ARRAY_TASK_STEP": "2",
}
GRID_ENGINE = {
    "SGE_TASK_ID": "4",
    "SGE_TASK_FIRST": "1",
    "SGE_TASK_LAST": "10",
    "SGE_TASK_STEPSIZE": "3",
}


@pytest.mark.parametrize("studies", [0, 1, 7, 8, 100])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 13])
def test_every_study_is_in_one_shard_and_shards_differ_by_one_at_most(studies, count):
    parts = [Shard(k + 1, count).of(range(studies)) for k in range(count)]
    assert sorted(itertools.chain(*parts)) == list(range(studies))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_shard_is_read_as_it_is_written():
    assert str(Shard.parse("3/8")) == "3/8"
    assert Shard.parse("3/8") == Shard(3, 8)


@pytest.mark.parametrize("text", ["", "3", "0/2", "3/2", "-1/2", "1/0", "1.5/2", "a/b", "1/2/3"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(UsageError, match="shard"):
        Shard.parse(text)


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        ({}, Shard(1, 1)),
        (SLURM, Shard(2, 3)),
        (SLURM | {"SLURM_ARRAY_TASK_ID": "5"}, Shard(1, 3)),
        (SLURM | {"SLURM_ARRAY_TASK_ID": "9"}, Shard(3, 3)),
        (GRID_ENGINE, Shard(2, 4)),
        (GRID_ENGINE | {"SGE_TASK_ID": "10"}, Shard(4, 4)),
        # Grid Engine says this outside of an array, LSF that
        ({"SGE_TASK_ID": "undefined", "SGE_TASK_FIRST": "undefined"}, Shard(1, 1)),
        ({"LSB_JOBINDEX": "0"}, Shard(1, 1)),
    ],
)
def test_a_task_of_an_array_has_its_shard(environment, shard):
    assert Shard.of_task(environment) == shard


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        (SLURM | {"SLURM_ARRAY_TASK_ID": "6"}, "give --shard"),  # --array=5,6,9
        (SLURM | {"SLURM_ARRAY_TASK_ID": "11"}, "give --shard"),
        ({"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_MIN is None"),
        (GRID_ENGINE | {"SGE_TASK_LAST": "x"}, "SGE_TASK_LAST is 'x'"),
        ({"PBS_ARRAY_INDEX": "3"}, r"give --shard \$PBS_ARRAY_INDEX/N"),
        ({"PBS_ARRAYID": "3"}, r"give --shard \$PBS_ARRAYID/N"),
        ({"LSB_JOBINDEX": "3"}, r"give --shard \$LSB_JOBINDEX/N"),
    ],
)
def test_an_array_that_does_not_tell_its_shards_is_refused(environment, word):
    with pytest.raises(UsageError, match=word):
        Shard.of_task(environment)
