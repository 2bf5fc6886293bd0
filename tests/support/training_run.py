"""Tiny trainings for tests: recipes, pairs whose CT is a function of their MR, and the tensors that a run left."""

from __future__ import annotations

import numpy as np
import torch

from mrct_runtime.paired import Slices
from mrct_train.checkpoint import latest, load
from mrct_train.config import validated
from mrct_train.data import Pairs, PreparedSubject, digest

TINY = {
    "size": 8,
    "steps": 20,
    "batch": 3,
    "ema": 0.9,
    "learning_rate": 1e-3,
    "sample_epochs": 0,
    "unet": {"base": 4, "multipliers": [1, 2], "blocks": 1, "embedding": 8, "fourier_scale": 1.0},
    "critic": {"base": 4, "levels": 2, "steps": 2},
    "augmentation": {"mirror": True, "turns": True, "rotation_degrees": 5, "intensity": 0.1},
}
METHODS = {
    "ddpm": {"method": "ddpm"},
    "sde": {
        "method": "sde",
        "preconditioning": "residual",
        "weighting": "unit",
        "stratified": True,
    },
    "cnn": {"method": "cnn"},
    "wgan-gp": {"method": "wgan-gp"},
}


def recipe(**fields):
    return validated(TINY | fields, "test")


def pairs(seed=0, subjects=4, slices=4, size=8):
    """Noise as MR and a parabola of it as CT, in the paper's window."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(subjects):
        mr = rng.random((slices, size, size), dtype=np.float32)
        hu = -1024 + 4000 * (np.float32(0.2) + mr**2 / 2)
        arrays = Slices(mr, hu.astype(np.float32), np.ones(mr.shape, bool))
        made.append(PreparedSubject(f"subject-{number}", arrays, digest(arrays)))
    return Pairs(tuple(made))


def tensors(run):
    """Every tensor of the run's last checkpoint by group and name."""
    saved = load(latest(run))
    groups = {"weights": saved.weights, "ema": saved.ema, "optimizer": saved.optimizer}
    groups |= saved.extra
    return {
        f"{group}.{name}": tensor for group, held in groups.items() for name, tensor in held.items()
    }


def differing(one, other):
    """The names of the tensors whose bits differ between two runs."""
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]
