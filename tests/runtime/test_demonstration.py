import pytest

from mrct_runtime import demonstration
from mrct_runtime.bundle import Bundle
from mrct_runtime.errors import BundleError
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
