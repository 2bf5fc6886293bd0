from __future__ import annotations

import json

import pytest
from tiny_bundle import tiny_manifest

from mrct_runtime.errors import BundleError, UsageError
from mrct_runtime.manifest import Manifest, ProcessSpec
from mrct_runtime.process import DDPM, VESDE, Direct

MANIFEST = tiny_manifest("tiny", VESDE(), 16, 2.0)
DIRECT = tiny_manifest("tiny", Direct(), 16, 2.0)
TRAINING = json.loads(MANIFEST.dumps())["training"]


def canonical(content) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def changed(**changes) -> bytes:
    return canonical(json.loads(MANIFEST.dumps()) | changes)


@pytest.mark.parametrize("manifest", [MANIFEST, DIRECT])
def test_the_text_gives_the_same_manifest_and_the_same_text(manifest: Manifest) -> None:
    text = manifest.dumps().encode()
    again = Manifest.loads(text, "here")
    assert again == manifest
    assert again.dumps().encode() == text


def test_a_bundle_from_before_there_was_a_sampler_of_its_own_is_read_as_it_is() -> None:
    content = json.loads(MANIFEST.dumps())
    for text in (changed(sampler=None), changed(sampler="em"), canonical(content)):
        assert Manifest.loads(text, "here").dumps().encode() == text
    assert "sampler" not in content


@pytest.mark.parametrize("process", [VESDE(sigma=30.0, t_min=1e-3), DDPM(beta_end=0.01), Direct()])
def test_a_process_is_rebuilt_from_its_record(process) -> None:
    assert ProcessSpec.of(process).build() == process


def test_a_process_that_is_not_registered_cannot_be_recorded() -> None:
    class Other(VESDE.__mro__[1]): ...

    with pytest.raises(UsageError, match="cannot name the process"):
        ProcessSpec.of(Other())


def test_what_the_graph_carries_leaves_out_what_may_be_retuned_and_digests_only() -> None:
    whole, inside = json.loads(MANIFEST.dumps()), json.loads(MANIFEST.graph_text())
    assert whole.keys() - inside.keys() == {"files", "presets", "uncertainty"}
    assert all(inside[key] == whole[key] for key in inside)


def test_a_manifest_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        MANIFEST.opset = 21  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "holds a list, not an object"),
        (b"{}", "schema_version is None, this mrct reads 3"),
        (changed(schema_version=1), "schema_version is 1, this mrct reads 3"),
        (changed(extra=1), "unknown key 'extra'"),
        (changed(hu_window={"low": -1024.0, "high": 3071.0, "c": 0}), "unknown key 'hu_window.c'"),
        (changed(hu_window={"low": 5.0, "high": 3.0}), "low < high"),
        (changed(hu_window={"low": -1024.0}), "not as mrct writes it"),
        (changed(prior_mean="0.2"), "prior_mean: .*got '0.2'"),
        (changed(prior_mean=float("nan")), "prior_mean: .*finite"),
        (changed(parametrisation="score"), "parametrisation: .*got 'score'"),
        (changed(parametrisation="image"), "does not fit the process 've-sde'"),
        (changed(inputs=[]), "inputs and outputs must be float32 and named x, y, t, eps"),
        (changed(training=TRAINING | {"method": "cnn"}), "'cnn' makes no network of .*'ve-sde'"),
        (changed(training=TRAINING | {"method": "gan"}), "training.method: .*got 'gan'"),
        (changed(training=TRAINING | {"subjects_sha256": ["p1"]}), "subjects_sha256.0: .*'p1'"),
        (changed(uncertainty={"em": {"mc": 10}}), "uncertainty.em.options' is missing"),
        (changed(name="../evil"), "name: .*got '../evil'"),
        (changed(files={"../x": "0" * 64}), r"files\.\.\./x"),
        (
            changed(image={"size": 20, "spacing_mm": 1.0, "multiple": 8}),
            "20 is not a multiple of 8",
        ),
        (changed(process={"kind": "vp", "parameters": {}}), "unknown process 'vp'"),
        (changed(process={"kind": "ve-sde", "parameters": {"sigma": 25.0}}), "lacks parameters"),
        (changed(process={"kind": "ddpm", "parameters": {"steps": 0}}), "at least one step"),
        (
            changed(
                process={"kind": "ve-sde", "parameters": {"s": 1, "sigma": 25.0, "t_min": 1e-5}}
            ),
            "process",
        ),
        (json.dumps(json.loads(MANIFEST.dumps())).encode(), "edited by hand"),
    ],
)
def test_a_manifest_that_is_not_sound_is_refused_in_one_line(text: bytes, reason: str) -> None:
    with pytest.raises(BundleError, match=reason) as caught:
        Manifest.loads(text, "bundle.json")
    assert str(caught.value).startswith("bundle.json: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", list(json.loads(MANIFEST.dumps())))
def test_no_key_may_be_left_out(key: str) -> None:
    content = json.loads(MANIFEST.dumps())
    del content[key]
    with pytest.raises(BundleError, match=key):
        Manifest.loads(canonical(content), "bundle.json")


def test_a_bundle_from_before_the_training_was_looked_at_is_read_as_it_is() -> None:
    text = MANIFEST.dumps().encode()
    assert b'"seen"' not in text
    assert Manifest.loads(text, "here").seen is None


def test_how_the_training_looked_is_kept_and_no_part_of_the_graph() -> None:
    text = changed(seen={"subjects": 7, "ranges": {"rim": [0.1, 0.2]}})
    manifest = Manifest.loads(text, "here")
    assert manifest.seen is not None
    assert manifest.seen.ranges == {"rim": (0.1, 0.2)}
    assert manifest.dumps().encode() == text
    assert manifest.graph_text() == MANIFEST.graph_text()
