import pytest
from tiny_bundle import tiny_manifest

from mrct_runtime import demonstration
from mrct_runtime.bundle import Bundle
from mrct_runtime.errors import BundleError
from mrct_runtime.process import VESDE
from mrct_runtime.samplers import SAMPLERS, sampler_class
from mrct_runtime.samplers import sampler as build


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_has_a_demonstration_bundle_that_it_can_sample(sampler):
    bundle = Bundle.load(demonstration.demonstration_bundle(sampler))
    assert isinstance(bundle.process, sampler_class(sampler).families)
    build(sampler, bundle.preset(sampler)).check(bundle.process)
    assert "phantom" in bundle.manifest.training.data.lower()


def test_the_demonstration_bundles_are_small_enough_to_ship():
    files = [path for path in demonstration.FOLDER.rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in files) < 20_000_000


def test_an_installation_without_them_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(demonstration, "FOLDER", tmp_path)
    with pytest.raises(BundleError, match="give --bundle"):
        demonstration.demonstration_bundle("em")


@pytest.mark.parametrize("name", ["demo-ddpm.mrct", "demo-sde.mrct", "demo-cnn.mrct"])
def test_a_demonstration_bundle_says_so_and_knows_how_its_training_looked(name):
    manifest = Bundle.load(demonstration.FOLDER / name).manifest
    assert demonstration.is_demonstration(manifest)
    assert manifest.seen.subjects == manifest.training.subjects == 52


def test_a_bundle_of_phantoms_is_a_demonstration_whatever_its_name():
    own = tiny_manifest("own", VESDE(), 16, 2.0)
    assert not demonstration.is_demonstration(own)
    training = own.training.model_copy(update={"data": "40 phantoms; No patient data"})
    assert demonstration.is_demonstration(own.model_copy(update={"training": training}))
