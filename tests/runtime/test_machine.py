import os

import numpy as np

import mrct_runtime
from mrct_runtime import machine


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
