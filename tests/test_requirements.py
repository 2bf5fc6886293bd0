"""The lock files against what they lock: the floors of pyproject.toml and the pins of constraints.txt."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LOCKS = {
    name: (ROOT / "requirements" / name).read_text("utf-8")
    for name in ("runtime.lock", "test.lock", "torch.lock")
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def entries(text):
    """The lines that mean something, joined where they go on."""
    lines = (line.strip() for line in text.replace("\\\n", " ").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def pins(text):
    """Package -> version."""
    found = (entry.split()[0].split("==") for entry in entries(text))
    return {canonicalize_name(name): Version(version) for name, version in found}


def needed(*extras):
    wanted = [*PROJECT["dependencies"], *(r for extra in extras for r in EXTRAS[extra])]
    return [Requirement(text) for text in wanted]


@pytest.mark.parametrize("name", LOCKS)
def test_every_entry_is_one_version_with_its_hashes_and_nothing_else(name):
    form = re.compile(r"[a-z0-9-]+==[A-Za-z0-9.]+(?: +--hash=sha256:[0-9a-f]{64})+")
    assert [entry for entry in entries(LOCKS[name]) if not form.fullmatch(entry)] == []
    assert len(pins(LOCKS[name])) == len(entries(LOCKS[name])) > 20


@pytest.mark.parametrize("name", LOCKS)
def test_no_index_is_named(name):
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", LOCKS[name])


@pytest.mark.parametrize(
    ("locks", "extras"),
    [(["runtime.lock"], ["cpu"]), (["test.lock", "torch.lock"], ["cpu", "test"])],
)
def test_a_lock_has_all_that_the_project_asks_for_above_its_floors(locks, extras):
    locked = {}
    for name in locks:
        locked |= pins(LOCKS[name])
    for requirement in needed(*extras):
        found = locked.get(canonicalize_name(requirement.name))
        assert found is not None, f"{requirement} is not locked: run requirements/lock"
        assert requirement.specifier.contains(found), f"{requirement}, locked is {found}"


@pytest.mark.parametrize("name", LOCKS)
def test_the_pins_of_continuous_integration_are_the_locks_too(name):
    wanted = pins((ROOT / "constraints.txt").read_text("utf-8"))
    found = pins(LOCKS[name])
    assert {n: v for n, v in wanted.items() if n in found} == {
        n: v for n, v in found.items() if n in wanted
    }


def test_torch_is_locked_at_the_pin_and_apart_from_the_rest():
    pin = pins((ROOT / "constraints.txt").read_text("utf-8"))["torch"]
    assert pins(LOCKS["torch.lock"])["torch"] == pin
    for name in ("runtime.lock", "test.lock"):
        assert [n for n in pins(LOCKS[name]) if re.match(r"torch$|triton$|nvidia-|cuda-", n)] == []


def test_the_locks_agree_where_they_meet():
    runtime, test, torch = (pins(LOCKS[name]) for name in LOCKS)
    assert runtime.items() <= test.items()
    assert all(test[name] == torch[name] for name in test.keys() & torch.keys())
    left = torch.keys() - test.keys()
    assert all(re.match(r"torch$|triton$|nvidia-|cuda-", name) for name in left)


@pytest.mark.parametrize("tool", ["cyclonedx-bom", "pip-tools"])
def test_the_tools_that_lock_and_list_are_pinned_and_can_be_installed_as_an_extra(tool):
    pin = pins((ROOT / "constraints.txt").read_text("utf-8"))[tool]
    (asked,) = (r for r in map(Requirement, EXTRAS["supply"]) if r.name == tool)
    assert asked.specifier.contains(pin)
