from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_bundle import tiny_manifest, tiny_model, write_tiny_bundle

import mrct_runtime
from mrct_runtime.bundle import METADATA_KEY, Bundle
from mrct_runtime.engines.analytic import Analytic
from mrct_runtime.engines.target import Target
from mrct_runtime.errors import BundleError, EngineError, NumericError, UsageError
from mrct_runtime.intensity import HuWindow, MrNormalisation
from mrct_runtime.process import DDPM, VESDE, Direct
from mrct_runtime.samplers import SAMPLERS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "tiny.mrct")


def edit(path: Path, **changes) -> None:
    """Changes bundle.json as someone would who knows its form."""
    content = json.loads((path / "bundle.json").read_bytes()) | changes
    (path / "bundle.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def refresh_digest(path: Path, name: str) -> None:
    files = json.loads((path / "bundle.json").read_bytes())["files"]
    digest = hashlib.sha256((path / name).read_bytes()).hexdigest()
    edit(path, files=files | {name: digest})


@pytest.mark.parametrize("process", [VESDE(sigma=20.0, t_min=1e-4), DDPM(steps=500), Direct()])
def test_a_bundle_gives_back_what_was_written(tmp_path: Path, process) -> None:
    bundle = Bundle.load(write_tiny_bundle(tmp_path / "tiny.mrct", process))
    assert bundle.process == process
    assert bundle.window == HuWindow()
    assert bundle.normalisation == MrNormalisation()
    assert bundle.manifest.name == "tiny"
    manifest_bytes = (bundle.path / "bundle.json").read_bytes()
    assert bundle.sha256 == hashlib.sha256(manifest_bytes).hexdigest()


@pytest.mark.parametrize("process", [VESDE(), DDPM(), Direct()])
def test_its_engine_is_the_closed_form_that_the_graph_spells_out(tmp_path: Path, process) -> None:
    bundle = Bundle.load(write_tiny_bundle(tmp_path / "tiny.mrct", process))
    x, y = np.random.default_rng(1).random((2, 3, 1, 10, 12)).astype(np.float32)
    engine = bundle.open_engine(Target("cpu", threads=1))
    found = engine.bind(y)(x, 0.3)
    np.testing.assert_allclose(found, Analytic(process).bind(y)(x, 0.3), rtol=1e-5, atol=1e-6)
    engine.close()


def test_the_verified_bytes_are_the_loaded_bytes(path: Path) -> None:
    bundle = Bundle.load(path)
    (path / "model.onnx").write_bytes(b"swapped after the check")
    bundle.open_engine().close()


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "card.md"])
def test_a_changed_byte_in_any_file_is_refused_by_name(path: Path, name: str) -> None:
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} was changed: its sha256 is \w{{12}}\.\.\."):
        Bundle.load(path)


def test_a_changed_byte_in_the_manifest_is_refused_wherever_it_is(path: Path) -> None:
    original = (path / "bundle.json").read_bytes()
    presets = range(original.index(b'"presets"'), original.index(b'"process"'))
    uncertainty = range(original.index(b'"uncertainty"'), len(original))
    # Presets and recalibrations alone may be retuned without a new export.
    for at in (n for n in range(0, len(original), 5) if n not in (*presets, *uncertainty)):
        content = bytearray(original)
        content[at] ^= 1
        (path / "bundle.json").write_bytes(content)
        with pytest.raises(BundleError):
            Bundle.load(path)


def test_a_manifest_that_the_graph_was_not_exported_with_is_refused(path: Path) -> None:
    edit(path, hu_window={"low": -1000.0, "high": 3071.0})
    with pytest.raises(BundleError, match=r"model\.onnx was not exported with this bundle\.json"):
        Bundle.load(path)


def test_a_direct_graph_in_the_place_of_a_noise_graph_is_refused(path: Path) -> None:
    text = Bundle.load(path).manifest.graph_text()
    onnx.save(tiny_model(Direct(), {METADATA_KEY: text}), path / "model.onnx")
    refresh_digest(path, "model.onnx")
    with pytest.raises(BundleError, match=r"has the tensors \[\('y', .* says \[\('x', "):
        Bundle.load(path)


def test_a_graph_of_another_signature_is_refused_before_a_session_exists(path: Path) -> None:
    text = Bundle.load(path).manifest.graph_text()
    model = tiny_model(VESDE(), {METADATA_KEY: text})
    model.graph.input[2].name = "time"
    for node in model.graph.node:
        node.input[:] = ["time" if name == "t" else name for name in node.input]
    onnx.save(model, path / "model.onnx")
    refresh_digest(path, "model.onnx")
    with pytest.raises(BundleError, match=r"has the tensors .*'time'"):
        Bundle.load(path)


def test_the_bundle_of_the_digest_that_was_asked_for_is_loaded(path: Path) -> None:
    digest = hashlib.sha256((path / "bundle.json").read_bytes()).hexdigest()
    assert mrct_runtime.load(path, sha256=digest).sha256 == digest
    assert Bundle.load(path, f" {digest.upper()}\n").sha256 == digest


@pytest.mark.parametrize("change", ["another bundle", "a preset", "garbage"])
def test_any_other_bundle_than_the_one_asked_for_is_refused(
    path: Path, tmp_path: Path, change
) -> None:
    digest = Bundle.load(path).sha256
    if change == "another bundle":
        path = write_tiny_bundle(tmp_path / "other.mrct", DDPM())
    elif change == "a preset":
        edit(path, presets={"em": {"steps": 7}})
        assert Bundle.load(path).preset("em") == {"steps": 7}
    else:
        (path / "bundle.json").write_bytes(b"garbage")
    with pytest.raises(
        BundleError, match=f"is another bundle: its sha256 .* asked for was {digest}"
    ):
        Bundle.load(path, digest)


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "g" * 64, "sha256:" + "0" * 57])
def test_what_is_no_digest_refuses_to_be_compared(path: Path, digest) -> None:
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        Bundle.load(path, digest)


def test_a_missing_bundle_is_told_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"there is no bundle at .*gone\.mrct"):
        Bundle.load(tmp_path / "gone.mrct")


def test_a_file_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "a.mrct").write_text("")
    with pytest.raises(BundleError, match="is a file; a bundle is a directory"):
        Bundle.load(tmp_path / "a.mrct")


def test_a_folder_of_something_else_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"it has no bundle\.json"):
        Bundle.load(tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "card.md"])
def test_a_missing_file_is_told_by_name(path: Path, name: str) -> None:
    (path / name).unlink()
    with pytest.raises(BundleError, match=f"lacks {name}"):
        Bundle.load(path)


def test_a_file_that_is_not_listed_is_refused(path: Path) -> None:
    (path / "weights.pkl").write_bytes(b"")
    with pytest.raises(BundleError, match=r"holds 'weights\.pkl', which it does not list"):
        Bundle.load(path)


def test_listing_a_further_file_does_not_admit_it(path: Path) -> None:
    (path / "weights.pkl").write_bytes(b"")
    files = json.loads((path / "bundle.json").read_bytes())["files"]
    edit(path, files=files | {"weights.pkl": hashlib.sha256(b"").hexdigest()})
    with pytest.raises(BundleError, match=r"see 'weights\.pkl'"):
        Bundle.load(path)


def test_a_link_is_refused_even_to_the_right_content(path: Path) -> None:
    (path / "model.onnx").rename(path.parent / "elsewhere.onnx")
    (path / "model.onnx").symlink_to(path.parent / "elsewhere.onnx")
    with pytest.raises(BundleError, match="not a plain file"):
        Bundle.load(path)


def test_a_file_beyond_its_limit_is_not_read(path: Path) -> None:
    with (path / "bundle.json").open("r+b") as file:
        file.truncate(2 << 20)
    with pytest.raises(BundleError, match="at most 1048576 are read"):
        Bundle.load(path)


def test_a_network_that_computes_something_else_never_samples(path: Path) -> None:
    bundle = Bundle.load(path)
    other = replace(bundle, models={"fp32": tiny_model(VESDE(sigma=24.0), {}).SerializeToString()})
    with pytest.raises(NumericError, match=r"computes something else .* off the golden output"):
        other.open_engine()


def test_an_engine_that_gives_nan_fails_the_self_test(path: Path) -> None:
    class Broken(Analytic):
        def bind(self, cond):
            return lambda x, _t: np.full_like(x, np.nan)

    with pytest.raises(NumericError, match="analytic computes something else"):
        Bundle.load(path).self_test(Broken(VESDE()))


def test_the_self_test_measures_how_far_an_engine_is_off(path: Path) -> None:
    bundle = Bundle.load(path)
    assert bundle.self_test(Analytic(VESDE())) < 1e-7


def test_a_device_without_an_engine_is_refused(path: Path) -> None:
    with pytest.raises(EngineError, match="--device cuda:99 cannot be had"):
        Bundle.load(path).open_engine(Target("cuda:99"))


@pytest.mark.parametrize("process", [VESDE(), DDPM(), Direct()])
def test_every_sampler_of_its_process_has_a_preset(tmp_path: Path, process) -> None:
    bundle = Bundle.load(write_tiny_bundle(tmp_path / "tiny.mrct", process))
    for name, kind in SAMPLERS.items():
        if isinstance(process, kind.families):
            assert bundle.preset(name) == {"steps": kind().steps}
        else:
            with pytest.raises(UsageError, match=f"sampler {name} needs a "):
                bundle.preset(name)


def test_a_sampler_that_is_younger_than_the_bundle_has_its_own_defaults(path: Path) -> None:
    edit(path, presets={"em": {"steps": 50}})
    bundle = Bundle.load(path)
    assert bundle.preset("dpmpp") == {}
    assert [bundle.has_preset(name) for name in ("em", "dpmpp")] == [True, False]


def test_an_unknown_sampler_is_a_usage_error(path: Path) -> None:
    with pytest.raises(UsageError, match="unknown sampler 'sde'"):
        Bundle.load(path).preset("sde")


@pytest.mark.parametrize("options", [{"steps": 0}, {"speed": 3}, {"steps": "many"}])
def test_a_preset_that_its_sampler_refuses_is_the_bundles_fault(path: Path, options) -> None:
    edit(path, presets={"em": options})
    with pytest.raises(BundleError, match=r"bundle\.json: preset of 'em'"):
        Bundle.load(path).preset("em")


def test_loading_needs_no_onnx_library(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnx", "onnxruntime", "torch"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    assert Bundle.load(path).manifest == _with_files(path)


def _with_files(path: Path):
    files = {
        name: hashlib.sha256((path / name).read_bytes()).hexdigest()
        for name in ("model.onnx", "golden.npz", "card.md")
    }
    return tiny_manifest("tiny", VESDE(), 16, 2.0).model_copy(update={"files": files})


def test_a_sampler_of_its_own_that_the_network_has_not_is_told(path: Path) -> None:
    for sampler, said in (("sde", "unknown sampler 'sde'"), ("ddpm", "needs a DDPM model")):
        edit(path, sampler=sampler)
        with pytest.raises(BundleError, match=said):
            _ = Bundle.load(path).sampler
