"""The tensors of a run in memory, as a checkpoint holds them: whole, also where every rank has only a part.

Every rank gathers all of them, one at a time, into its host's memory.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mrct_train.ema import Ema
from mrct_train.learners.descent import Descent
from mrct_train.precision import restore_scaler, scaler_tensors
from mrct_train.sharding import fill, local, on_host


def weights(network: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers by name."""
    return {name: on_host(tensor) for name, tensor in network.state_dict().items()}


@torch.no_grad()
def restore_weights(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors of `weights` back; KeyError where one is missing."""
    for name, target in network.state_dict().items():
        fill(target, tensors[name])


def gathered(network: nn.Module, fresh: nn.Module) -> nn.Module:
    """`fresh` on the network's device with all of its weights, for use and not for training."""
    device = next(network.parameters()).device
    fresh = fresh.to(device).requires_grad_(requires_grad=False).eval()
    restore_weights(fresh, weights(network))
    return fresh


def adam(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's state as tensors named PARAMETER.FIELD; empty before its first step."""
    return {
        f"{index}.{field}": on_host(value)
        for index, parameter in enumerate(_parameters(optimizer))
        for field, value in optimizer.state[parameter].items()
    }


@torch.no_grad()
def restore_adam(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors of `adam` back, laid out in memory as the weights are."""
    parameters = _parameters(optimizer)
    optimizer.state.clear()
    for name, value in tensors.items():
        index, field = name.split(".")
        parameter = parameters[int(index)]
        if value.ndim == parameter.ndim:
            moment = torch.zeros_like(parameter)
            fill(moment, value)
        else:
            moment = value.to(parameter.device)
        optimizer.state[parameter][field] = moment


def additional(descents: Mapping[str, Descent]) -> dict[str, dict[str, Tensor]]:
    """Scalers, and all of the networks besides the main one."""
    groups = {}
    for name, descent in descents.items():
        if name != "main":
            groups[name] = weights(descent.network)
            groups[f"{name}_optimizer"] = adam(descent.optimizer)
        if descent.scaler.is_enabled():
            groups[_scaler(name)] = scaler_tensors(descent.scaler)
    return groups


def restore_additional(
    descents: Mapping[str, Descent], groups: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Put the groups of `additional` back; KeyError where one is missing."""
    for name, descent in descents.items():
        if name != "main":
            restore_weights(descent.network, groups[name])
            restore_adam(descent.optimizer, groups[f"{name}_optimizer"])
        if descent.scaler.is_enabled():
            restore_scaler(descent.scaler, groups[_scaler(name)])


def finite(ema: Ema, descents: Mapping[str, Descent]) -> bool:
    """True where every weight and average is finite on this rank."""
    networks = [ema.network, *(descent.network for descent in descents.values())]
    tensors = (tensor for network in networks for tensor in network.state_dict().values())
    return all(bool(local(tensor).isfinite().all()) for tensor in tensors)


def _scaler(name: str) -> str:
    return "scaler" if name == "main" else f"{name}_scaler"


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
