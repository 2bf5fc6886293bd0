import shutil

import pytest
import torch
from random_run import save_run
from shared_graphs import graphs_shared
from tiny_bundle import write_tiny_bundle

from mrct_export.export import export
from mrct_runtime.bundle import Bundle
from mrct_runtime.errors import UsageError
from mrct_runtime.golden import Golden
from mrct_train import baselines
from mrct_train.torch_peaks import convolution, matrix_product
from mrct_train.torch_subject import TorchSubject, rebuilt, stand, trained


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("runs") / "sde", "sde", preconditioning="residual")


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory):
    with graphs_shared():
        return Bundle.load(export(run, tmp_path_factory.mktemp("bundles") / "sde.mrct"))


def asked(bundle, **changes):
    plain = {"precision": "fp32", "channels_last": False, "compile": "none", "checkpoint": None}
    place = {"bundle": str(bundle.path), "device": "cpu", "threads": 1, "size": 32}
    return plain | place | changes


def test_the_checkpoint_s_network_computes_what_the_bundle_s_does(bundle, run):
    golden: Golden = bundle.golden
    network = trained(bundle, run).network
    with torch.inference_mode():
        out = network(*(torch.from_numpy(array.copy()) for array in golden.inputs.values()))
    assert golden.deviation(out.numpy()) < 1e-5


def test_another_run_s_checkpoint_is_refused(bundle, tmp_path):
    other = save_run(tmp_path / "other", "cnn")
    with pytest.raises(UsageError, match="name the run of this bundle"):
        trained(bundle, other)


def test_without_a_checkpoint_the_card_s_recipe_is_rebuilt_with_random_weights(bundle):
    weighed = rebuilt(bundle)
    assert weighed.weights == "random, of the bundle's recipe"
    parameters = sum(weight.numel() for weight in weighed.network.parameters())
    assert parameters == bundle.manifest.training.parameters


def test_a_card_without_a_recipe_of_this_network_is_refused(tmp_path):
    bundle = Bundle.load(write_tiny_bundle(tmp_path / "tiny.mrct"))
    with pytest.raises(UsageError, match=r"card\.md"):
        rebuilt(bundle)


def test_a_card_that_was_changed_is_refused(bundle, tmp_path):
    bundle = Bundle.load(shutil.copytree(bundle.path, tmp_path / "sde.mrct"))
    with (bundle.path / "card.md").open("a") as card:
        card.write("more")
    with pytest.raises(UsageError, match="has changed"):
        rebuilt(bundle)


@pytest.mark.parametrize("mode", [{}, {"channels_last": True}, {"precision": "fp16"}])
def test_every_eager_mode_runs_on_any_batch(bundle, mode):
    standing = stand(asked(bundle, **mode))
    facts = standing.facts()
    assert facts["device"] == "cpu"
    assert facts["precision"] == mode.get("precision", "fp32")
    for batch in (1, 3):
        assert standing.warm_up(batch, 0)["last"] > 0
        assert min(standing.measure(batch, 0.01)) > 0


def test_channels_last_reaches_the_weights(bundle):
    subject = TorchSubject(asked(bundle, channels_last=True), rebuilt(bundle), torch.device("cpu"))
    weights = [w for w in subject._network.parameters() if w.ndim == 4 and w.shape[2] == 3]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


def test_peaks_count_their_own_operations():
    from torch.utils.flop_counter import FlopCounterMode

    for make in (matrix_product, convolution):
        work, flop = make(torch.device("cpu"), torch.float32)
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            work()
        assert counter.get_total_flops() == flop


def test_the_baselines_are_named_and_no_two_alike(bundle):
    for device, least in (("cpu", 3), ("cuda", 5)):
        found = baselines.networks(bundle.path, None, device, 2, 32, "default")
        names = [candidate.name for candidate in found]
        assert len(set(names)) == len(names) >= least
        assert baselines.EAGER_FP32 in names
    assert baselines.EAGER_FP16 in names
    plain = baselines.networks(bundle.path, None, "cuda", 2, 32, "none")
    assert not any("compile" in candidate.name for candidate in plain)
