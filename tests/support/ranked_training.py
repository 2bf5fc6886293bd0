"""Trainings on the ranks that torchrun started: python -m torch.distributed.run ... ranked_training.py FOLDER JOBS.

JOBS is JSON, recipe fields by the name of the run, with "strategy", "devices" (for a start without torchrun) and, where
a rank is to get a signal after a step, "signal": [rank, step, number]; such a run has a checkpoint after every step.
Every rank leaves the weights that it ends with in FOLDER/NAME/rank-N.safetensors; a refusal is in FOLDER/NAME.error.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import save_file
from training_run import pairs, recipe

from mrct_runtime.errors import MrctError
from mrct_train import state
from mrct_train.fit import Limits, fit
from mrct_train.ranks import connect
from mrct_train.trainer import Trainer


def main(folder, jobs):
    torch.set_num_threads(1)
    for name, fields in json.loads(jobs).items():
        try:
            train(Path(folder) / name, fields)
        except MrctError as error:
            Path(folder, f"{name}.error").write_text(str(error), "utf-8")


def train(run, fields):
    fields = dict(fields)
    strategy, devices = fields.pop("strategy", "auto"), fields.pop("devices", None)
    signalled = fields.pop("signal", None)
    ranks = connect(Limits(strategy=strategy, devices=devices))
    limits = Limits(checkpoint_minutes=0 if signalled else 5)

    def told(_):
        sys.stdout.write(f"rank {ranks.rank} is told of its progress\n")

    with mock.patch.multiple(Trainer, **watched(ranks.rank, signalled)):
        fit(recipe(**fields), pairs(), run, limits, sys.stdout.write, told, ranks)


def watched(rank, signalled):
    """Trainer.save and Trainer.advance that leave the rank's weights, and send it the signal where it is due."""
    save, advance = Trainer.save, Trainer.advance

    def saved(trainer):
        save(trainer)
        weights = state.weights(trainer.learner.descents["main"].network)
        save_file(weights, trainer.run / f"rank-{rank}.safetensors")

    def advanced(trainer):
        advance(trainer)
        if signalled and signalled[:2] == [rank, trainer.progress.step]:
            os.kill(os.getpid(), signalled[2])

    return {"save": saved, "advance": advanced}


if __name__ == "__main__":
    main(*sys.argv[1:])
