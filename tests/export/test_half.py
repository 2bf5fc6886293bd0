"""Half precision is made only where no call and no sampled image is changed by more than is allowed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from flat_pairs import write_pairs
from random_run import OPTIONS, random_network, save_run

import mrct_export.half as module
from mrct_cli import boundary
from mrct_cli.main import load
from mrct_export.audit import (
    HALF_MAX,
    MOST_STEPS,
    Difference,
    Reach,
    Trajectory,
    check_differences,
    compared,
    trajectories,
)
from mrct_export.audit_slices import AuditSlices, audit_slices
from mrct_export.bundle_writer import default_presets
from mrct_export.export import export
from mrct_export.half import LIMIT, call_difference, mixed_network
from mrct_export.precision import convolutions, half_network
from mrct_runtime.bundle import HALF_MODEL, Bundle
from mrct_runtime.demonstration import demonstration_bundle
from mrct_runtime.engines.target import Target
from mrct_runtime.errors import BundleError, NumericError, UsageError
from mrct_runtime.intensity import HuWindow, MrNormalisation
from mrct_runtime.manifest import Image
from mrct_runtime.paired import Preparation, find_subjects, prepare
from mrct_runtime.process import DDPM, VESDE, Direct
from mrct_runtime.samplers import adapts
from mrct_runtime.settings import Settings
from mrct_runtime.synthesis import synthesize

PRESETS = {"em": {"steps": 6}, "pc": {"steps": 6}}
BODY = np.zeros((1, 16, 16), bool)
BODY[:, 4:12, 4:12] = True
SLICES = AuditSlices(np.random.default_rng(0).random((1, 16, 16), np.float32), BODY, "one of noise")
TINY = AuditSlices(SLICES.mr[:, :8, :8], BODY[:, :8, :8], "a corner of it")


@pytest.fixture(autouse=True, scope="module")
def wide_gate():
    """Random weights are some 3e-3 off, trained ones 1e-3."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GATE", 5e-3)
        yield


def made(network, process, presets=PRESETS):
    return mixed_network(network, process, presets, SLICES, HuWindow(), 0.25)


def spread(network, layer: str, factor: float) -> None:
    """Makes a convolution's values larger, and those after it what they were: its norm divides by them."""
    with torch.no_grad():
        for parameter in network.unet.get_submodule(layer).parameters():
            parameter.mul_(factor)


def test_the_reach_is_the_largest_value_that_a_convolution_meets() -> None:
    network = random_network(VESDE())
    taken = torch.full((1, 2, 16, 16), -7.0)
    reach = Reach(network.unet)
    with reach.watching(), torch.inference_mode():
        given = network.unet(taken, torch.zeros(1))
    first = network.unet.first
    with torch.inference_mode():
        inside = float(first(taken).abs().max())
    assert reach.largest["first"] == pytest.approx(
        max(7.0, inside, float(first.weight.detach().abs().max()))
    )
    assert reach.largest["last"] >= float(given.abs().max())
    before = dict(reach.largest)
    with torch.inference_mode():
        network.unet(10 * taken, torch.zeros(1))
    assert reach.largest == before, "nobody looks any more"


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_weights_that_half_cannot_hold_are_reached_whatever_they_give(part: str) -> None:
    network = random_network(VESDE())
    with torch.no_grad():
        getattr(network.unet.first, part).view(-1)[0] = -7e4
    assert Reach(network.unet).largest["first"] == 7e4


def test_a_convolution_that_overflows_half_is_found_and_kept() -> None:
    network = random_network(VESDE())
    kept = "middle.0.conv1"
    spread(network, kept, 1e6)
    spread(network, "middle.0.time", 0.0)
    assert kept in convolutions(network)
    found = made(network, VESDE())
    assert kept in found.half.kept
    assert found.half.margins[kept] < HALF_MAX / LIMIT
    assert all(found.half.margins[name] >= 1 for name in convolutions(network) if name != kept)


def test_an_overflow_in_the_time_embedding_keeps_the_block_it_is_added_in() -> None:
    network = random_network(VESDE())
    spread(network, "middle.0.time", 1e6)
    found = made(network, VESDE())
    assert "middle.0.conv1" in found.half.kept
    assert np.isfinite(found.half.relative_rms)


def test_a_sum_that_overflows_keeps_the_convolution_that_is_added() -> None:
    network = random_network(VESDE())
    spread(network, "middle.0.conv2", 3e4)
    assert "middle.0.conv2" in made(network, VESDE()).half.kept


def test_the_sum_with_an_attention_that_overflows_keeps_its_projection() -> None:
    network = random_network(VESDE(), OPTIONS)
    spread(network, "middle.0.attention.project", 3e4)
    kept = made(network, VESDE()).half.kept
    assert "middle.0.attention.project" in kept
    assert "middle.0.attention.qkv" not in kept


@pytest.mark.slow
def test_a_run_with_a_stem_and_attention_is_exported_in_both_precisions(tmp_path) -> None:
    run = save_run(tmp_path / "run", "sde", unet=OPTIONS)
    bundle = Bundle.load(export(run, tmp_path / "tiny.mrct", presets=PRESETS, half=True))
    assert bundle.manifest.image.multiple == OPTIONS.multiple == 4
    assert bundle.manifest.parity.relative_rms < 1e-5
    for precision, limit in (("fp32", 1e-5), ("fp16", 5e-3)):
        engine = bundle.open_engine(Target("cpu", precision=precision, threads=1))
        assert bundle.self_test(engine) < limit


def test_every_sampler_is_judged_in_hu_and_by_its_evaluations() -> None:
    half = made(random_network(VESDE()), VESDE()).half
    assert {name: found.evaluations for name, found in half.sampled.items()} == {"em": 6, "pc": 6}
    assert len(half.times) == 10
    assert half.relative_rms <= module.GATE
    for found in half.sampled.values():
        assert 0 < found.difference_hu < found.limit_hu


@pytest.mark.parametrize("process", [VESDE(), DDPM()])
def test_by_default_every_sampler_of_the_process_is_audited_in_few_evaluations(process) -> None:
    presets = default_presets(process)
    if "ode" in presets:
        presets["ode"] = {"rtol": 0.1, "atol": 0.1}
    found = trajectories(random_network(process), process, presets, SLICES, 0.25)
    taken = {name: each.evaluations for name, each in found.items() if not adapts(name)}
    in_sigma = {"ddim": 50, "dpmpp": 20, "heun": 35, "unipc": 20}
    published = {"ddpm"} if isinstance(process, DDPM) else {"em", "pc"}
    assert taken == in_sigma | dict.fromkeys(published, MOST_STEPS)


@pytest.mark.parametrize(
    ("name", "options", "evaluations"),
    [
        ("em", {"steps": 1000, "eps": 1e-3}, 100),
        ("pc", {"steps": 11_000, "correctors": 10}, 99),
        ("pc", {"steps": 1200, "correctors": 119}, 1200),
    ],
)
def test_a_long_preset_is_shortened_to_what_its_sampler_takes(
    name: str, options: dict[str, float], evaluations: int
) -> None:
    process = VESDE()
    found = trajectories(random_network(process), process, {name: options}, TINY, 0.25)
    assert found[name].evaluations == evaluations


def test_a_shortened_preset_ends_where_the_network_was_trained() -> None:
    process = VESDE(t_min=0.05)
    preset = {"steps": 200, "eps": 0.05, "predictor": "reverse-diffusion"}
    found = trajectories(random_network(process), process, {"em": preset}, TINY, 0.25)
    assert found["em"].evaluations <= 100


def test_the_judgement_sees_a_network_that_samples_otherwise() -> None:
    process = VESDE()
    network, other = random_network(process), random_network(process)
    spread(other, "last", 30.0)
    whole, wrong = (trajectories(n, process, PRESETS, SLICES, 0.25) for n in (network, other))
    with pytest.raises(NumericError, match="changes the samples of em by"):
        check_differences(compared(whole, wrong, SLICES, process, HuWindow()))


def test_a_difference_that_is_not_finite_does_not_pass() -> None:
    process = VESDE()
    network = random_network(process)
    spread(network, "middle.0.conv1", 1e7)
    assert call_difference(network, (), process, (0.5,), (16, 16)) == float("inf")
    for hu in (2.0, np.nan):
        unfit = Difference(1, np.array([hu]), np.ones(1), "their Monte Carlo error")
        with pytest.raises(
            NumericError, match=f"{hu:.2g} HU in slice 1 of the audit, more than 1 HU"
        ):
            check_differences({"em": unfit})


def test_samples_that_overflow_end_the_audit_with_what_to_do() -> None:
    network = random_network(VESDE())
    spread(network, "middle.0.conv1", 1e7)
    with pytest.raises(NumericError, match=r"samples of em .* not finite; .* leave --fp16 out"):
        trajectories(half_network(network, emulated=True), VESDE(), PRESETS, TINY, 0.25)


def test_every_slice_is_judged_by_its_own_deviation() -> None:
    slices = AuditSlices(np.zeros((2, 16, 16), np.float32), BODY.repeat(2, axis=0), "two")
    samples = np.zeros((2, 2, 16, 16))
    samples[:, 1] += np.array([1.0, 0.01])[:, None, None]
    whole, half = Trajectory(6, samples), Trajectory(6, samples + 0.01)
    found = compared({"em": whole}, {"em": half}, slices, VESDE(), HuWindow())
    width = HuWindow().width
    assert found["em"].hu == pytest.approx([0.01 * width] * 2)
    assert found["em"].limit == pytest.approx(np.array([1.0, 0.01]) * width / np.sqrt(20))
    assert found["em"].sampled.difference_hu < found["em"].sampled.limit_hu
    with pytest.raises(NumericError, match="samples of em by 41 HU in slice 2 of the audit"):
        check_differences(found)


def test_samples_that_do_not_vary_prove_nothing() -> None:
    same = {"em": Trajectory(6, np.ones((1, 2, 16, 16)))}
    found = compared(same, same, SLICES, VESDE(), HuWindow())
    with pytest.raises(NumericError, match="samples of em prove nothing"):
        check_differences(found)


def test_first_and_last_stay_whole_where_a_call_is_too_far_off(monkeypatch) -> None:
    network, process = random_network(DDPM()), DDPM()
    times = tuple(np.linspace(process.t_min, 1, 10).tolist())
    plain = call_difference(network, (), process, times, (16, 16))
    ends = call_difference(network, ("first", "last"), process, times, (16, 16))
    assert ends < plain
    monkeypatch.setattr(module, "GATE", (plain + ends) / 2)
    assert made(network, process, {"ddpm": {"steps": 4}}).half.kept == ("first", "last")
    monkeypatch.setattr(module, "GATE", ends / 2)
    with pytest.raises(NumericError, match=r"changes a call by .*nothing was written"):
        made(network, process, {"ddpm": {"steps": 4}})


def test_slices_of_generated_pelves_are_cut_and_show_a_body() -> None:
    preparation = Preparation(Image(size=160, spacing_mm=3.0, multiple=8), MrNormalisation())
    found = audit_slices(preparation)
    assert found.mr.shape == found.body.shape == (2, 128, 128)
    assert (found.body.mean(axis=(1, 2)) > 0.1).all()
    assert found.source == "2 slices of generated pelves"


def test_slices_of_the_first_two_subjects_of_given_data_come_too(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(write_pairs(tmp_path / "pairs", ("A", "B", "C")))
    preparation = Preparation(Image(size=32, spacing_mm=1.0, multiple=2), MrNormalisation())
    found = audit_slices(preparation, Path())
    assert found.source == "2 slices of generated pelves, 2 of pairs"
    for mr, body, name in zip(found.mr[2:], found.body[2:], "AB", strict=True):
        pair = next(s for s in find_subjects(Path()) if s.name == name).read()[0]
        expected = prepare(pair, preparation)
        assert np.array_equal(mr, expected.mr[0])
        assert np.array_equal(body, expected.body[0])


@pytest.mark.parametrize(
    ("spoil", "code", "told"),
    [
        (shutil.rmtree, 3, "no such folder"),
        (lambda data: (data / "A/ct_axial.png").unlink(), 4, "audit data, A: lacks ct_axial.png"),
        (lambda data: (data / "A/mri_axial.png").write_bytes(b"no PNG"), 4, "audit data, A: mri_"),
    ],
    ids=["missing", "no CT", "damaged"],
)
def test_audit_data_that_cannot_be_used_is_told_before_exporting(
    tmp_path, monkeypatch, capsys, spoil, code: int, told: str
) -> None:
    run, data = save_run(tmp_path / "run", "sde"), write_pairs(tmp_path / "pairs", ("A",))
    spoil(data)
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr("mrct_export.export.to_onnx", lambda *_: pytest.fail("exported"))
    words = [str(run), str(tmp_path / "tiny.mrct"), "--fp16", "--audit", str(data)]
    assert boundary.run(load("export"), "mrct-export", words) == code
    shown = capsys.readouterr()
    assert told in shown.err
    assert "exporting" not in shown.out
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("half")
    run = save_run(folder / "run", "sde")
    return export(run, folder / "tiny.mrct", presets=PRESETS, half=True)


def test_the_bundle_has_both_networks_and_what_was_measured(halved) -> None:
    bundle = Bundle.load(halved)
    assert bundle.precisions == ("fp32", "fp16")
    assert len(bundle.network("fp16")) < len(bundle.network("fp32"))
    assert bundle.manifest.half is not None
    card = (halved / "card.md").read_text("utf-8")
    assert "### Half precision" in card
    assert "| em | 6 |" in card


def test_half_is_sampled_where_it_is_asked_for_and_lies_near_float32(halved) -> None:
    bundle = Bundle.load(halved)
    sampling = Settings(sampler="em", mc=2).sampling(bundle, "")
    y = np.random.default_rng(0).random((1, 32, 32))
    found = {}
    for precision in bundle.precisions:
        engine = bundle.open_engine(Target("cpu", precision=precision, threads=1))
        assert engine.backend.precision == precision
        found[precision] = synthesize(engine, bundle.process, y, sampling).mean
    off = np.abs(found["fp16"] - found["fp32"]).mean() * bundle.window.width
    assert 0 < off < bundle.manifest.half.sampled["em"].limit_hu


def test_a_half_graph_that_was_changed_or_is_missing_is_refused(halved, tmp_path) -> None:
    copy = tmp_path / "tiny.mrct"
    copy.mkdir()
    for file in halved.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    content = bytearray((copy / HALF_MODEL).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / HALF_MODEL).write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.fp16\.onnx was changed"):
        Bundle.load(copy)
    (copy / HALF_MODEL).unlink()
    with pytest.raises(BundleError, match=r"lacks model\.fp16\.onnx"):
        Bundle.load(copy)


def test_a_bundle_without_half_says_how_to_make_it(bundle_path) -> None:
    with pytest.raises(UsageError, match="mrct-export --fp16 makes one"):
        Bundle.load(bundle_path).network("fp16")


@pytest.mark.parametrize("sampler", ["ddpm", "em", "direct"])
def test_the_demonstration_bundles_have_half(sampler: str) -> None:
    bundle = Bundle.load(demonstration_bundle(sampler))
    engine = bundle.open_engine(Target("cpu", precision="fp16", threads=1))
    assert 1e-5 < bundle.self_test(engine) < 2e-3


def test_a_direct_network_is_judged_by_one_hu() -> None:
    with pytest.raises(NumericError, match=r"direct by .* HU .*, more than 1 HU, which is allowed"):
        made(random_network(Direct()), Direct(), {"direct": {"steps": 1}})
    quiet = random_network(Direct())
    spread(quiet, "last", 0.1)
    half = made(quiet, Direct(), {"direct": {"steps": 1}}).half
    assert half.times == (1.0,)
    assert 0 < half.sampled["direct"].difference_hu < half.sampled["direct"].limit_hu == 1.0


def test_the_command_refuses_with_code_9_and_leaves_nothing(tmp_path, monkeypatch, capsys) -> None:
    run = save_run(tmp_path / "run", "sde")
    monkeypatch.setattr(module, "GATE", 1e-9)
    words = [str(run), str(tmp_path / "tiny.mrct"), "--fp16"]
    assert boundary.run(load("export"), "mrct-export", words) == 9
    assert "half precision changes a call by" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_audit_data_without_half_is_refused(tmp_path, capsys) -> None:
    words = [str(tmp_path), str(tmp_path / "tiny.mrct"), "--audit", str(tmp_path)]
    assert boundary.run(load("export"), "mrct-export", words) == 2
    assert "--audit names slices for half precision" in capsys.readouterr().err
