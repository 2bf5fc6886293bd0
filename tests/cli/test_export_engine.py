"""mrct-export --engine: which engines it builds, and what it refuses; built by a module that is none, or really."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import fake_tensorrt
import pytest
from tiny_bundle import write_tiny_bundle

from mrct_cli.boundary import run
from mrct_cli.export import export
from mrct_runtime import cuda
from mrct_runtime.engines.cache import EngineCache


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fake_tensorrt.reset()
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake_tensorrt)
    return write_tiny_bundle(tmp_path / "tiny.mrct")


def told(capsys, *argv: object) -> tuple[int, str, str]:
    code = run(export, "mrct-export", [str(part) for part in argv])
    out, error = capsys.readouterr()
    assert error.count("\n") <= 1
    return code, out, error


def test_a_bundle_that_is_there_gets_an_engine_and_its_key_file_size_and_seconds_are_told(
    tiny, capsys
) -> None:
    code, out, _ = told(capsys, tiny, "--engine", "tensorrt-rtx")
    (record,) = EngineCache.open().records()
    assert code == 0
    assert re.match(
        r"TensorRT-RTX 1\.7\.1\.116 fp32, batch 1-16, 16 x 16, portable: 0\.0 MB, built in ", out
    )
    assert f"\nkey {record.key.digest}\nfile {EngineCache.open().path(record.key)}\n" in out
    assert (record.key.batch, record.key.height, record.key.trial) == ((1, 10, 16), 16, (4, 8, 6))
    code, out, _ = told(capsys, tiny, "--engine", "tensorrt-rtx")
    assert (code, fake_tensorrt.calls["build_serialized_network"]) == (0, 1)
    assert "there already" in out


@pytest.mark.parametrize(
    ("batch", "expected"), [("10", (10, 10, 10)), ("2-4", (2, 4, 4)), ("12-20", (12, 12, 20))]
)
def test_batch_size_and_compute_capabilities_are_those_asked_for(
    tiny, capsys, batch, expected
) -> None:
    flags = ("--batch", batch, "--size", 24, "--compute-capabilities", "12.0,8.6")
    assert told(capsys, tiny, "--engine", "tensorrt-rtx", *flags)[0] == 0
    (record,) = EngineCache.open().records()
    assert record.key.batch == expected
    assert (record.key.height, record.key.architecture) == (24, "8.6,12.0")
    assert sorted(fake_tensorrt.built[0].capabilities) == [86, 120]


def test_a_compute_capability_that_is_named_twice_is_one(tiny, capsys) -> None:
    for flag in ("8.6,8.9", "8.9,8.6,8.9"):
        words = ("--engine", "tensorrt-rtx", "--compute-capabilities", flag)
        assert told(capsys, tiny, *words)[0] == 0
    (record,) = EngineCache.open().records()
    assert record.key.architecture == "8.6,8.9"
    assert [config.capabilities for config in fake_tensorrt.built] == [[86, 89]]


def test_after_an_export_the_new_bundle_gets_one(tiny, capsys, monkeypatch, tmp_path) -> None:
    asked = []

    def write(checkpoint, bundle, **options):
        asked.append((checkpoint, options["overwrite"]))
        return write_tiny_bundle(bundle)

    monkeypatch.setattr("mrct_export.export.export", write)
    words = (tmp_path / "run", tmp_path / "new.mrct", "--engine", "tensorrt-rtx", "--overwrite")
    code, out, _ = told(capsys, *words)
    assert (code, asked) == (0, [(tmp_path / "run", True)])
    assert out.index("wrote") < out.index("TensorRT-RTX")
    assert len(list(EngineCache.open().records())) == 1


@pytest.mark.parametrize(
    ("flags", "code", "word"),
    [
        ((), 2, "name the bundle"),
        (("--size", 16), 2, "name the bundle"),
        (("new.mrct", "--batch", "4"), 2, "--batch is an engine's: add --engine"),
        (("--engine", "tensorrt-rtx", "--overwrite"), 2, "--overwrite is an export's"),
        (("--engine", "tensorrt-rtx", "--batch", "5-3"), 2, "growing range, as 1-16, got '5-3'"),
        (("--engine", "tensorrt-rtx", "--batch", "0"), 2, "growing range"),
        (("--engine", "tensorrt-rtx", "--batch", "all"), 2, "growing range"),
        (
            ("--engine", "tensorrt-rtx", "--batch", "\N{ARABIC-INDIC DIGIT THREE}"),
            2,
            "growing range",
        ),
        (("--engine", "tensorrt-rtx", "--size", "0"), 2, "rows"),
        (("--engine", "openvino"), 2, "openvino"),
        (
            ("--engine", "tensorrt-rtx", "--compute-capabilities", "8.6,9.0"),
            2,
            "compute capability '9.0'; it knows 7.5, 8.6, 8.9, 12.0",
        ),
    ],
)
def test_words_that_make_no_sense_exit_with_2_and_build_nothing(
    tiny, capsys, flags, code, word
) -> None:
    found, _, line = told(capsys, tiny, *flags)
    assert found == code
    assert word in line
    assert not fake_tensorrt.built


def test_a_size_that_the_network_does_not_take_exits_with_2(tiny, capsys, tmp_path) -> None:
    from mrct_runtime.demonstration import demonstration_bundle

    code, _, line = told(
        capsys, demonstration_bundle("em"), "--engine", "tensorrt-rtx", "--size", 33
    )
    assert code == 2
    assert "--size must be a multiple of the model's 8, got 33" in line


@pytest.mark.parametrize(("engine", "extra"), [("tensorrt-rtx", "rtx"), ("tensorrt", "tensorrt")])
def test_a_missing_module_exits_with_7_before_anything_is_exported(
    tiny, capsys, monkeypatch, engine, extra
) -> None:
    module = engine.replace("-", "_")
    monkeypatch.setitem(sys.modules, module, None)
    code, _, line = told(capsys, "run", "new.mrct", "--engine", engine)
    assert (code, line) == (
        7,
        f"mrct: error: {module} is not installed: pip install 'mrct[{extra}]'\n",
    )


def test_tensorrt_without_a_gpu_exits_with_7(tiny, capsys, monkeypatch) -> None:
    monkeypatch.setattr(fake_tensorrt, "__version__", "11.4.0")
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt)
    monkeypatch.setattr(cuda, "why_not", lambda _gpu: "CUDA finds no GPU")
    code, _, line = told(capsys, tiny, "--engine", "tensorrt")
    assert (code, line) == (7, "mrct: error: cuda:0 cannot be used: CUDA finds no GPU\n")


def test_a_changed_engine_exits_with_7_and_names_the_file(tiny, capsys) -> None:
    told(capsys, tiny, "--engine", "tensorrt-rtx")
    (path,) = EngineCache.open().folder.path.glob("*.engine")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    code, _, line = told(capsys, tiny, "--engine", "tensorrt-rtx")
    assert code == 7
    assert f"{path} was changed" in line


def test_a_user_without_a_home_exits_with_7_and_is_told_what_to_set(tiny, capsys, homeless) -> None:
    code, _, line = told(capsys, tiny, "--engine", "tensorrt-rtx")
    assert code == 7
    assert "has no home folder for a cache: set XDG_CACHE_HOME" in line


def test_what_is_no_bundle_exits_with_5(tiny, capsys, tmp_path) -> None:
    assert told(capsys, tmp_path, "--engine", "tensorrt-rtx")[0] == 5


def test_the_real_builder_builds_a_demonstration_model_here(capsys, monkeypatch, tmp_path) -> None:
    from mrct_runtime.demonstration import demonstration_bundle

    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, out, _ = told(capsys, demonstration_bundle("em"), "--engine", "tensorrt-rtx")
    assert code == 0
    assert re.match(r"TensorRT-RTX [\d.]+ fp32, batch 1-16, 96 x 96, portable: \d+\.\d MB", out)
