"""Several processes that share every batch, by Lightning Fabric: torchrun's, or some that it starts on this machine.

"ddp" holds the whole network on every rank and takes the mean of the gradients; "fsdp" shards weights, gradients, the
moving average and Adam's moments over the ranks (PyTorch's fully_shard), for trainings that one device cannot hold. The
network alone must fit a device: each builds it whole before it is sharded, and once more for sample pictures.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from lightning.fabric.strategies.model_parallel import ModelParallelStrategy
from lightning.fabric.strategies.strategy import Strategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from mrct_runtime.errors import UsageError
from mrct_train.limits import Limits
from mrct_train.unet import ResidualBlock

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Together:
    """One of several processes."""

    fabric: Fabric
    sharded: bool
    hosts: dist.ProcessGroup
    """The ranks as they talk without their devices."""

    @property
    def rank(self) -> int:
        """This process's number."""
        return int(self.fabric.global_rank)

    @property
    def count(self) -> int:
        """The number of processes."""
        return int(self.fabric.world_size)

    @property
    def device(self) -> torch.device:
        """This process's device."""
        return self.fabric.device

    def trained(self, objective: nn.Module) -> nn.Module:
        """The objective in Fabric's wrapper."""
        return self.fabric.setup_module(objective)

    def held(self, network: nn.Module) -> nn.Module:
        """The network, of which a rank keeps its part where weights are sharded."""
        return self.fabric.setup_module(network) if self.sharded else network

    def gathering(self, objective: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """Inside, gradients stay on this rank unless it is the last backward pass of a batch."""
        return self.fabric.no_backward_sync(cast("Any", objective), enabled=not last)

    def backward(self, loss: Tensor) -> None:
        """The backward pass."""
        self.fabric.backward(loss)

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over the ranks."""
        total = tensor.clone()
        dist.all_reduce(total)
        return total / self.count

    def agree(self, code: int) -> int:
        """The largest code."""
        largest = torch.tensor(code)
        dist.all_reduce(largest, dist.ReduceOp.MAX, group=self.hosts)
        return int(largest)

    def barrier(self) -> None:
        """Wait for every rank."""
        dist.barrier(group=self.hosts)

    def first(self, make: Callable[[], T]) -> T:
        """make() on rank 0, then on the others."""
        if self.rank:
            self.barrier()
            return make()
        made = make()
        self.barrier()
        return made


def together(limits: Limits, here: int, nodes: int) -> Together:
    """The processes of a run, `here` on each of so many nodes; those that do not run yet are started."""
    device = torch.device(limits.device)
    if limits.device != device.type:
        raise UsageError(f"device {limits.device} is one; several processes need {device.type}")
    # A line from every rank on how it was started is no news.
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    sharded = limits.strategy == "fsdp"
    fabric = Fabric(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=here,
        num_nodes=nodes,
        strategy=_sharded(here * nodes) if sharded else _replicated(),
    )
    fabric.launch()
    world = dist.group.WORLD
    assert world is not None
    hosts = world if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
    return Together(fabric, sharded, hosts)


def _replicated() -> Strategy:
    return DDPStrategy(gradient_as_bucket_view=True)


def _sharded(ranks: int) -> Strategy:
    return ModelParallelStrategy(_shard, data_parallel_size=ranks, tensor_parallel_size=1)


def _shard(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """The module, its residual blocks gathered one after the other when they are needed."""
    ranks = mesh["data_parallel"]
    for part in module.modules():
        if isinstance(part, ResidualBlock):
            fully_shard(part, mesh=ranks, reshard_after_forward=True)
    # Also after the last forward: an average has no backward pass that would let go of the whole.
    fully_shard(module, mesh=ranks, reshard_after_forward=True)
    return module
