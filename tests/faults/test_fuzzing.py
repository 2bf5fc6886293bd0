"""Mutated files at every border: each ends with a code of the table and one line, or with a right result.

`number` and kind say which mutant: `Server.fate(kind, number)` makes the same one again.
"""

import shutil
import sys
from random import Random

import pytest
from fuzzing.fork_server import MEGABYTES, SECONDS
from fuzzing.harness import Tally, fuzz, make_seeds, server, spread
from fuzzing.kinds import KINDS
from fuzzing.mutants import Mutant, mutate
from fuzzing.planted import FATES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MUTANTS = 10_000
QUICK = 200
# the tests beside this one may have the processor
PATIENCE = 4 * SECONDS
# those that are read in milliseconds
OFTEN = ("DICOM explicit", "volume .nii", "bundle", "result", "split", "recipe .yaml", "node")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzzing")


@pytest.fixture(scope="module")
def asked(place):
    """A server for the kinds that are read often."""
    seeds = make_seeds(place / "seeds", [KINDS[name] for name in OFTEN])
    with server(seeds, place / "server", OFTEN) as found:
        found.seeds = seeds
        yield found


@pytest.mark.parametrize("name", FATES)
def test_a_planted_fault_is_found_for_what_it_is(asked, name):
    shutil.rmtree(asked.folder, ignore_errors=True)
    shutil.copytree(asked.seeds / "split", asked.folder)
    mutant = Mutant(f"planted-{name}", "split.json", (), sealed=False, like_the_seed=True)
    fate = asked.fate_of("split", mutant, seconds=1.0 if "hang" in name else PATIENCE)
    assert fate.end == FATES[name][0], fate
    assert fate.megabytes < MEGABYTES + 100
    assert fate.good == (name == "refuse")


def test_after_a_fault_the_next_mutant_is_read_as_before(asked):
    for _ in range(2):
        shutil.rmtree(asked.folder, ignore_errors=True)
        shutil.copytree(asked.seeds / "split", asked.folder)
        mutant = Mutant("read-split split.json", "split.json", (), sealed=False, like_the_seed=True)
        assert asked.fate_of("split", mutant, PATIENCE).end == "right"


def test_a_mutant_is_the_same_wherever_it_is_made(asked, tmp_path):
    for name in OFTEN:
        made = [mutate(KINDS[name], asked.seeds / name, tmp_path / k, Random(7)) for k in "ab"]
        assert made[0] == made[1]
        one, other = ((tmp_path / k / made[0].file).read_bytes() for k in "ab")
        assert one == other
        for k in "ab":
            shutil.rmtree(tmp_path / k)


def test_mutants_that_hypothesis_draws_are_refused_or_read_right(asked):
    tally = Tally()

    @settings(
        max_examples=QUICK,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(OFTEN), st.randoms(use_true_random=False))
    def is_good(name, chance):
        shutil.rmtree(asked.folder, ignore_errors=True)
        mutant = mutate(KINDS[name], asked.seeds / name, asked.folder, chance)
        fate = asked.fate_of(name, mutant, PATIENCE)
        tally.add(fate)
        assert fate.good, fate

    is_good()
    assert tally.total.total() >= QUICK * 0.8
    assert set(tally.total) == {"right", "refused"}


@pytest.mark.slow
def test_ten_thousand_mutants_neither_hang_nor_fill_the_memory_nor_end_in_a_traceback(
    place, capsys
):
    seeds = make_seeds(place / "all seeds")
    tally = fuzz(seeds, place / "all", spread(MUTANTS))
    with capsys.disabled():
        sys.stdout.write(f"\n{tally}\n")
    assert tally.total.total() >= MUTANTS
    assert set(tally.counts) == set(KINDS)
    for fault in ("hang", "memory", "crash", "traceback", "untold", "wrong"):
        assert tally.total[fault] == 0, "\n".join(map(str, tally.faults))
    assert tally.most_seconds < SECONDS
    assert tally.most_megabytes < MEGABYTES
