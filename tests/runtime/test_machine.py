import os
import shutil

import numpy as np
import pytest

import mrct_runtime
from mrct_runtime import machine
from mrct_runtime.errors import EngineError


def test_the_machine_is_what_the_system_says():
    found = machine.machine()
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert 0 < found["free_memory"] <= found["memory"]
    assert found["processor"]


def test_versions_are_those_that_are_imported():
    found = machine.versions()
    assert found["mrct"] == mrct_runtime.__version__
    assert found["numpy"] == np.__version__
    assert "no-such-library" not in found


def test_the_cache_follows_xdg_and_its_disk_is_measured_before_it_exists(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not/yet"))
    assert machine.cache_folder() == tmp_path / "not/yet/mrct"
    assert machine.free_disk(machine.cache_folder()) > 0


@pytest.mark.parametrize("relative", ["", "cache", "./cache", "../cache"])
def test_a_cache_home_that_is_relative_is_none_as_xdg_says(tmp_path, monkeypatch, relative):
    monkeypatch.setenv("XDG_CACHE_HOME", relative)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert machine.cache_folder() == tmp_path / ".cache/mrct"


def test_a_user_without_a_home_is_told_what_to_set(homeless):
    with pytest.raises(EngineError, match=r"user \d+ has no home folder .* set XDG_CACHE_HOME"):
        machine.cache_folder()


def test_the_disk_of_a_folder_that_this_user_may_not_see_is_measured_above_it(
    tmp_path, monkeypatch
):
    """For root, who may see all, the refusal is the test's."""
    real = shutil.disk_usage
    (tmp_path / "file").touch()

    def refusing(path):
        if "hidden" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    def hides(path):
        if "hidden" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return path != tmp_path / "file/mrct"

    monkeypatch.setattr(shutil, "disk_usage", refusing)
    monkeypatch.setattr(machine.Path, "exists", hides)
    assert machine.free_disk(tmp_path / "hidden/mrct") > 0
    assert machine.free_disk(tmp_path / "file/mrct") > 0


def test_a_gpu_hint_is_what_nvidia_smi_prints_and_nothing_where_it_fails(tmp_path, monkeypatch):
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho 'NVIDIA T4, 7.5, 15360 MiB, 580.1'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert machine.gpu_hint() == ["NVIDIA T4, 7.5, 15360 MiB, 580.1"]
    command.write_text("#!/bin/sh\nexit 9\n")
    assert machine.gpu_hint() == []
    monkeypatch.setenv("PATH", "")
    assert machine.gpu_hint() == []
