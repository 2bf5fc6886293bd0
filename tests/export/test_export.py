from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from perturbed_graph import perturbed
from random_run import DATA, save_run

import mrct_export.export as module
from mrct_export.bundle_writer import default_presets
from mrct_export.export import export
from mrct_export.parity import Plan
from mrct_runtime.bundle import METADATA_KEY, Bundle
from mrct_runtime.engines.target import Target
from mrct_runtime.errors import NoInputError, NumericError, OutputError, UsageError
from mrct_runtime.manifest import NOT_IN_THE_GRAPH
from mrct_runtime.process import VESDE, Direct
from mrct_runtime.settings import Settings
from mrct_runtime.synthesis import synthesize
from mrct_train.checkpoint import load_network

PRESETS = {"em": {"steps": 30}}


@pytest.fixture
def quick(bundle_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Exports reuse the graph of `bundle_path`."""
    import onnx

    from mrct_export.to_onnx import Graph

    model = onnx.load(bundle_path / "model.onnx")
    del model.metadata_props[:]
    graph = Graph(model)
    monkeypatch.setattr(module, "to_onnx", lambda *_: graph)
    return graph


@pytest.fixture
def small_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(times=(0.5,), batches=(1,), sizes=((16, 16),), full_size=(16, 16))
    monkeypatch.setattr(Plan, "of", lambda _process, _image: plan)


def entries(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_the_bundle_holds_the_averaged_weights_of_the_run(bundle_path: Path, run: Path) -> None:
    bundle = Bundle.load(bundle_path)
    network, config, _ = load_network(run)
    x, y = torch.rand(2, 3, 1, 32, 32)
    with torch.inference_mode():
        expected = network(x, y, torch.full((3,), 0.25)).numpy()
    engine = bundle.open_engine(Target("cpu", threads=1))
    np.testing.assert_allclose(engine.bind(y.numpy())(x.numpy(), 0.25), expected, atol=1e-5)
    assert bundle.process == config.process == VESDE()


@pytest.mark.parametrize("method", ["cnn", "wgan-gp"])
def test_a_direct_network_becomes_a_bundle_that_the_direct_sampler_runs(
    method: str, tmp_path: Path
) -> None:
    run = save_run(tmp_path / "run", method)
    bundle = Bundle.load(export(run, tmp_path / "tiny.mrct"))
    assert bundle.manifest.training.method == method
    assert bundle.manifest.presets == {"direct": {"steps": 1}}
    assert bundle.process == Direct()
    y = np.random.default_rng(0).random((3, 32, 32), np.float32)
    engine = bundle.open_engine(Target("cpu", threads=1))
    sampling = Settings(sampler="direct").sampling(bundle, "")
    moments = synthesize(engine, bundle.process, y, sampling)
    network, _, _ = load_network(run)
    with torch.inference_mode():
        expected = network(torch.from_numpy(y[:, None])).numpy()[:, 0]
    np.testing.assert_allclose(moments.mean, expected, atol=1e-5)
    assert (moments.std == 0).all()
    assert moments.evaluations == len(y)


def test_everything_that_belongs_to_the_model_comes_from_its_run(bundle_path: Path) -> None:
    manifest = Bundle.load(bundle_path).manifest
    assert manifest.name == "tiny"
    assert (manifest.image.size, manifest.image.spacing_mm, manifest.image.multiple) == (32, 2.5, 2)
    assert manifest.prior_mean == 0.25
    assert manifest.licence == "CC0-1.0"
    assert manifest.domain.sequence == "T2w SPACE"
    assert manifest.training.data == "no data at all"
    assert manifest.training.method == "sde"
    assert manifest.training.subjects_sha256 == ("1" * 64, "2" * 64, "3" * 64)
    assert manifest.uncertainty == {}
    assert manifest.seen == DATA.seen
    assert (manifest.training.steps, manifest.training.seconds) == (120, 90.0)
    assert manifest.presets == default_presets(VESDE())
    assert "research use only" in manifest.notice


def test_the_graph_carries_the_manifest(bundle_path: Path) -> None:
    import onnx

    model = onnx.load(bundle_path / "model.onnx")
    (entry,) = model.metadata_props
    assert entry.key == METADATA_KEY
    carried = json.loads(entry.value)
    written = json.loads((bundle_path / "bundle.json").read_bytes())
    assert carried == {k: v for k, v in written.items() if k not in NOT_IN_THE_GRAPH}


def test_the_card_tells_origin_licence_figures_and_use(bundle_path: Path) -> None:
    card = (bundle_path / "card.md").read_text()
    parity = Bundle.load(bundle_path).manifest.parity
    for line in (
        "For research use only",
        "| data | no data at all |",
        "| licence | CC0-1.0 |",
        "-1024 to 3071 HU",
        f"{parity.relative_rms:.1e} (RMS)",
        'method = "sde"',
        "| method | sde |",
    ):
        assert line in card


def test_a_rerun_writes_the_same_bytes(bundle_path: Path, run: Path, tmp_path: Path, quick) -> None:
    again = export(run, tmp_path / "tiny.mrct")
    for path in bundle_path.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_a_graph_that_is_not_the_network_leaves_nothing_behind(
    run: Path, tmp_path: Path, quick, small_plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "to_onnx", lambda *_: perturbed(quick, 0.01))
    with pytest.raises(NumericError, match="differs from the network"):
        export(run, tmp_path / "tiny.mrct")
    assert entries(tmp_path) == []


def test_an_existing_bundle_is_replaced_only_on_request(
    run: Path, tmp_path: Path, quick, small_plan
) -> None:
    path = export(run, tmp_path / "tiny.mrct")
    before = hashlib.sha256((path / "bundle.json").read_bytes()).hexdigest()
    with pytest.raises(OutputError, match="--overwrite"):
        export(run, path, presets=PRESETS)
    assert Bundle.load(path).sha256 == before
    export(run, path, presets=PRESETS, overwrite=True)
    assert Bundle.load(path).manifest.presets == PRESETS
    assert entries(tmp_path) == ["tiny.mrct"]


def test_a_folder_that_is_no_bundle_is_never_replaced(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.mrct").mkdir()
    (tmp_path / "mine.mrct/thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds no bundle\.json"):
        export(run, tmp_path / "mine.mrct", overwrite=True)
    assert entries(tmp_path / "mine.mrct") == ["thesis.txt"]


def test_presets_are_checked_before_anything_is_computed(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="preset of 'ddpm': sampler ddpm needs a DDPM model"):
        export(run, tmp_path / "tiny.mrct", presets={"ddpm": {"steps": 10}})
    with pytest.raises(UsageError, match="preset of 'em'"):
        export(run, tmp_path / "tiny.mrct", presets={"em": {"steps": 0}})
    with pytest.raises(UsageError, match="presets are empty"):
        export(run, tmp_path / "tiny.mrct", presets={})
    assert entries(tmp_path) == []


def test_a_folder_without_a_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="no checkpoint here"):
        export(tmp_path, tmp_path / "tiny.mrct")


@pytest.mark.parametrize("name", ["tiny", "tiny.onnx"])
def test_a_bundle_has_to_be_named_as_one(run: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"named NAME\.mrct"):
        export(run, tmp_path / name)


@pytest.mark.parametrize("name", ["a b é.mrct", "-a.mrct", "_.mrct", "a\n.mrct"])
def test_a_name_that_a_manifest_refuses_is_told_before_exporting(
    run: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError, match="cannot be named"):
        export(run, tmp_path / name)
    assert entries(tmp_path) == []


def test_an_output_that_cannot_be_written_is_told_before_exporting(
    run: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        export(run, tmp_path / "file" / "tiny.mrct")


def test_every_stage_is_reported(run: Path, tmp_path: Path, quick, small_plan) -> None:
    lines: list[str] = []
    export(run, tmp_path / "tiny.mrct", report=lines.append)
    assert "opset 18" in lines[0]
    assert lines[-1].startswith("parity ")
