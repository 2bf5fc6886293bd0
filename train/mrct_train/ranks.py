"""The processes of a run: one alone, or several that share every batch (distributed.py)."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from mrct_runtime.errors import EngineError, UsageError
from mrct_train.limits import Limits

T = TypeVar("T")


class Ranks(Protocol):
    """One process's view of all of them; what is not said to be local, every rank must call alike."""

    @property
    def rank(self) -> int:
        """This process's number, from 0."""
        ...

    @property
    def count(self) -> int:
        """The number of processes."""
        ...

    @property
    def device(self) -> torch.device:
        """This process's device."""
        ...

    @property
    def sharded(self) -> bool:
        """True where a rank holds only a part of every weight."""
        ...

    def trained(self, objective: nn.Module) -> nn.Module:
        """The objective, whose gradients become their mean over the ranks."""
        ...

    def held(self, network: nn.Module) -> nn.Module:
        """A network that is evaluated but not trained, sharded where weights are."""
        ...

    def gathering(self, objective: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """Inside, a backward pass keeps its gradient to this rank, unless it is the `last` of its batch."""
        ...

    def backward(self, loss: Tensor) -> None:
        """The backward pass of a loss that a `trained` objective returned."""
        ...

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over the ranks."""
        ...

    def agree(self, code: int) -> int:
        """The largest of the ranks' codes, told from host to host, so that no device is waited for."""
        ...

    def barrier(self) -> None:
        """Wait for every rank."""
        ...

    def first(self, make: Callable[[], T]) -> T:
        """make() on rank 0, and then on the others, which find what it left on the disk."""
        ...


@dataclass(frozen=True)
class Alone:
    """A single process."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    count: int = 1
    sharded: bool = False

    def trained(self, objective: nn.Module) -> nn.Module:
        """The objective itself."""
        return objective

    def held(self, network: nn.Module) -> nn.Module:
        """The network itself."""
        return network

    def gathering(
        self,
        objective: nn.Module,  # noqa: ARG002 - the protocol's argument
        *,
        last: bool,  # noqa: ARG002 - the protocol's argument
    ) -> AbstractContextManager[object]:
        """Nothing to keep back."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """The backward pass."""
        loss.backward()

    def mean(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def agree(self, code: int) -> int:
        """The code itself."""
        return code

    def barrier(self) -> None:
        """Nothing to wait for."""

    def first(self, make: Callable[[], T]) -> T:
        """make()."""
        return make()


def connect(limits: Limits) -> Ranks:
    """The run's processes: this one alone, or those that torchrun or `limits.devices` ask for.

    Without torchrun the other processes of this machine are started here, with this one's command line.
    """
    here = limits.devices or int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    everywhere = int(os.environ.get("WORLD_SIZE", here))
    if "LOCAL_WORLD_SIZE" in os.environ:
        _compare_with_torchrun(limits, here, everywhere)
    elif limits.nodes > 1:
        raise UsageError(f"{limits.nodes} nodes need torchrun: see README, several machines")
    if here * limits.nodes == 1 and everywhere == 1:
        if limits.strategy == "fsdp":
            raise UsageError(
                "strategy fsdp shards over several processes, this is one: add --devices"
            )
        return Alone(torch.device(limits.device))
    try:
        from mrct_train.distributed import together
    except ModuleNotFoundError as error:
        if error.name != "lightning":
            raise
        raise EngineError("lightning is not installed: pip install 'mrct[train]'") from error
    return together(limits, here, everywhere // here)


def _compare_with_torchrun(limits: Limits, here: int, everywhere: int) -> None:
    """UsageError where the flags and torchrun's environment say different things."""
    started = int(os.environ["LOCAL_WORLD_SIZE"])
    if here != started:
        raise UsageError(f"devices is {here}, but torchrun started {started} processes here")
    if limits.nodes > 1 and limits.nodes * here != everywhere:
        raise UsageError(
            f"{limits.nodes} nodes of {here} devices, but torchrun started {everywhere} processes"
        )
