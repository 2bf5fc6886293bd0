"""A bundle's network in PyTorch as a subject of measurements: the baseline that an engine has to beat."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import nn

from mrct_runtime.bench.stand import Stand
from mrct_runtime.bundle import CARD, Bundle
from mrct_runtime.errors import UsageError
from mrct_train.checkpoint import build_network, load_network
from mrct_train.config import TrainConfig, validated
from mrct_train.data import DataSummary
from mrct_train.network import DirectNetwork
from mrct_train.random_weights import randomise
from mrct_train.recipe_text import from_toml
from mrct_train.torch_clock import clock_of, opened, taken

_FENCE: Final = "```toml\n"
_STRUCTURE: Final = frozenset({"method", "ddpm", "sde", "unet", "preconditioning"})
"""The fields of a recipe that make the network; others change between versions."""


class Weighed(NamedTuple):
    """A network and where its weights come from."""

    network: nn.Module
    weights: str


class TorchSubject:
    """One evaluation of a network in PyTorch, on images of noise that lie on its device already."""

    def __init__(self, asked: dict[str, Any], weighed: Weighed, device: torch.device) -> None:
        self._size, self._device = asked["size"], device
        self._dtype = torch.float16 if asked["precision"] == "fp16" else torch.float32
        self._format = torch.channels_last if asked["channels_last"] else torch.contiguous_format
        self._direct = isinstance(weighed.network, DirectNetwork)
        # The time embedding goes into half precision with the rest: as speed goes, that is the strongest baseline.
        network: Any = weighed.network.eval()
        network.to(device, self._dtype, memory_format=self._format)
        if asked["compile"] != "none":
            network = _compiled(network, asked["compile"], device)
        self._network = network
        self.clock = clock_of(device)
        self.facts: dict[str, Any] = {
            "device": str(device),
            "precision": asked["precision"],
            "threads": asked["threads"],
            "weights": weighed.weights,
        }

    def case(self, batch: int) -> Callable[[], object]:
        """One evaluation of so many images."""
        shape = (batch, 1, self._size, self._size)
        generator = torch.Generator().manual_seed(0)
        x, y = (
            torch.rand(shape, generator=generator).to(
                self._device, self._dtype, memory_format=self._format
            )
            for _ in range(2)
        )
        t = torch.full((batch,), 0.5, device=self._device, dtype=self._dtype)
        inputs = (y,) if self._direct else (x, y, t)

        @torch.inference_mode()
        def work() -> object:
            return self._network(*inputs)

        return work

    def device_memory(self) -> int | None:
        """Bytes that are taken on its GPU."""
        return taken(self._device)


def _compiled(network: nn.Module, mode: str, device: torch.device) -> Any:
    """The network as torch.compile makes it for fixed shapes; on the CPU with its weights packed in advance."""
    from torch._inductor import config

    config.freezing = device.type == "cpu"
    return torch.compile(network, mode=mode, dynamic=False)


def stand(asked: dict[str, Any]) -> Stand:
    """The stand of a bundle's network in PyTorch, in the mode that is asked for."""

    def make() -> TorchSubject:
        bundle, checkpoint = Bundle.load(asked["bundle"]), asked["checkpoint"]
        weighed = rebuilt(bundle) if checkpoint is None else trained(bundle, Path(checkpoint))
        return TorchSubject(asked, weighed, opened(asked))

    return Stand(make, lambda: taken(opened(asked)))


def trained(bundle: Bundle, checkpoint: Path) -> Weighed:
    """The network of the run that the bundle was exported from; UsageError for another run's."""
    network, _, provenance = load_network(checkpoint)
    wanted = bundle.manifest.training.checkpoint
    if provenance["checkpoint"] != wanted:
        raise UsageError(
            f"{checkpoint} has weights {provenance['checkpoint'][:12]}..., {bundle.path.name} was exported from "
            f"{wanted[:12]}...; name the run of this bundle"
        )
    return Weighed(network, "the bundle's, from its checkpoint")


def rebuilt(bundle: Bundle) -> Weighed:
    """A network of random weights by the recipe in the bundle's card; a bundle has no weights for PyTorch."""
    training = bundle.manifest.training
    data = DataSummary(
        training.subjects,
        training.slices,
        training.fingerprint,
        training.mean,
        training.deviation,
        (),
    )
    network = build_network(recipe(bundle), data)
    randomise(network)
    found = sum(parameter.numel() for parameter in network.parameters())
    if found != training.parameters:
        raise UsageError(
            f"the recipe in {bundle.path / CARD} makes {found} parameters, the bundle has {training.parameters}; "
            "give --checkpoint"
        )
    return Weighed(network, "random, of the bundle's recipe")


def recipe(bundle: Bundle) -> TrainConfig:
    """The structure of the network, from the recipe in the card; UsageError where that cannot be read."""
    path = bundle.path / CARD
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != bundle.manifest.files[CARD]:
        raise UsageError(f"{path} has changed since the bundle was loaded")
    _, fence, rest = content.decode().partition(_FENCE)
    if not fence:
        raise UsageError(f"{path} holds no recipe; give --checkpoint")
    table = from_toml(rest.partition("\n```")[0], str(path))
    return validated({name: table[name] for name in _STRUCTURE & table.keys()}, str(path))
