"""A journal is gone on with by the very same hardware and software alone."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace

import pytest
from fake_device import FakeDevice
from mr_study import write_mr_study
from tiny_bundle import write_tiny_bundle

import mrct_runtime
from mrct_runtime import identity as identity_module
from mrct_runtime import machine
from mrct_runtime.engines import Backend
from mrct_runtime.finished import Batch
from mrct_runtime.identity import computed_by, identity
from mrct_runtime.settings import Settings
from mrct_runtime.translate import prepare

BACKEND = Backend("onnxruntime-cuda", "cuda:0", "fp16")


@dataclass(frozen=True)
class OnGpu:
    """As much of an engine on a GPU as a journal looks at."""

    device: FakeDevice = field(default_factory=FakeDevice)
    backend: Backend = BACKEND
    max_batch: int = 64


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    bundle = mrct_runtime.load(write_tiny_bundle(folder / "tiny.mrct", size=24))
    return prepare(bundle, write_mr_study(folder / "study"), Settings(sampler="em", mc=2))


def batches(job, folder, engine):
    """What an engine finds of earlier runs in the folder; it leaves a batch of its own."""
    with job.journal(folder, engine) as journal:
        journal.drawn(Batch(0, 2, 2, 2, 100))
        return len(journal.past.batches)


def test_the_same_gpu_goes_on(job, tmp_path):
    assert [batches(job, tmp_path / "journal", OnGpu()) for _ in range(2)] == [0, 1]


OTHERS = {
    "another model": OnGpu(FakeDevice(model="Another GPU")),
    "another place": OnGpu(FakeDevice(name="cuda:1"), replace(BACKEND, device="cuda:1")),
    "another precision": OnGpu(backend=replace(BACKEND, precision="fp32")),
    "another backend": OnGpu(backend=replace(BACKEND, engine="tensorrt")),
    "a fused graph": OnGpu(backend=replace(BACKEND, fused=True)),
    "other batches": OnGpu(max_batch=16),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_another_one_left_is_not_gone_on_with(name, job, tmp_path):
    assert batches(job, tmp_path / "journal", OnGpu()) == 0
    assert batches(job, tmp_path / "journal", OTHERS[name]) == 0


def test_another_driver_or_library_gives_another_identity(job, monkeypatch):
    plan, found = job.sampling, {identity(job, OnGpu(), job.sampling)}
    monkeypatch.setattr(machine, "driver", lambda: "NVIDIA 999")
    found.add(identity(job, OnGpu(), plan))
    monkeypatch.setattr(machine, "versions", lambda: {"tensorrt": "99"})
    found.add(identity(job, OnGpu(), plan))
    monkeypatch.setattr(identity_module, "versions", lambda: {"numpy": "99"})
    found.add(identity(job, OnGpu(), plan))
    assert len(found) == 4


def test_of_an_engine_on_the_processor_no_driver_counts(job, monkeypatch):
    monkeypatch.setattr(machine, "driver", lambda: "NVIDIA 999")
    with closing(job.open_engine()) as engine:
        told = computed_by(engine)
    assert told["driver"] is None
    assert told["device"] == told["processor"] == machine.processor()
