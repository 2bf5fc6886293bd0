import pytest
from tiny_bundle import write_tiny_bundle

from mrct_runtime.doctor import examination
from mrct_runtime.doctor.examination import examine
from mrct_runtime.engines import ENGINES, Entry
from mrct_runtime.errors import BundleError

HARMFUL = ("absent", "raising", "leaving", "crashing", "wrong", "chattering")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny.mrct")


@pytest.fixture(scope="module")
def verdicts(bundle):
    with pytest.MonkeyPatch.context() as patch:
        for name in HARMFUL:
            patch.setitem(ENGINES, name, Entry(f"broken_backends:{name}", "cpu"))
        patch.setitem(ENGINES, "gone", Entry("no_such_module:open", "cpu"))
        return {verdict.backend: verdict for verdict in examine(bundle).verdicts}


def test_every_backend_of_the_registry_gets_a_verdict(verdicts):
    assert set(ENGINES) <= set(verdicts)
    assert {name for name, verdict in verdicts.items() if verdict.sound} == {
        *("onnxruntime", "chattering")
    }


def test_a_sound_backend_shows_its_deviation_and_its_time(verdicts):
    sound = verdicts["onnxruntime"]
    assert sound.device == "cpu"
    assert 0 < sound.deviation < 1e-4
    assert sound.self_test_ms > 0
    assert sound.open_ms > 0


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("absent", "nonesuch is not installed: pip install 'mrct[nonesuch]'"),
        ("raising", "RuntimeError: undefined symbol: _Zsomething"),
        ("leaving", "its process ended with code 3: library version mismatch"),
        ("crashing", "its process was ended by SIGSEGV"),
        ("wrong", "computes something else than the trained network: 0.01"),
        ("gone", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_a_broken_backend_is_a_reason_in_one_line(verdicts, backend, reason):
    assert reason in verdicts[backend].reason
    assert "\n" not in verdicts[backend].reason


def test_a_backend_that_hangs_is_given_up(bundle, monkeypatch):
    monkeypatch.setattr(examination, "ENGINES", {"hang": Entry("broken_backends:hanging", "cpu")})
    (verdict,) = examine(bundle, seconds=2).verdicts
    assert verdict.reason == "no answer within 2 s"


def test_onnx_runtimes_providers_are_tried(bundle):
    found = {provider.name: provider.reason for provider in examine(bundle).providers}
    assert found["CPUExecutionProvider"] is None


def test_without_onnx_runtime_its_providers_are_a_reason(bundle, tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("import os\nos._exit(9)\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = examine(bundle)
    assert found.providers == ()
    assert found.provider_reason == "its process ended with code 9"
    assert not found.sound


def test_what_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError):
        examine(tmp_path)
