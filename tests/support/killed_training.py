"""Trainings in processes that are killed, forked from one that has imported everything: a start takes no time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from functools import partial
from itertools import count

import torch
from training_run import pairs, recipe

from mrct_cli.main import main_train
from mrct_runtime import output_folder
from mrct_train import checkpoint
from mrct_train import fit as fit_module
from mrct_train.checkpoint import latest
from mrct_train.fit import Limits, fit

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["mrct_train.fit", "mrct_train.data", "mrct_cli.train", "torch.utils.tensorboard"]
)


def start(function, *arguments):
    """The process that runs function(*arguments), a function of this or another importable module."""
    process = SERVER.Process(target=function, args=arguments, daemon=True)
    process.start()
    return process


def train(run, fields, die_at=None):
    """Train in `run`, with a checkpoint after every step, and die in the midst of the write number `die_at`."""
    torch.set_num_threads(1)
    if die_at is not None:
        writes = count()
        checkpoint.save_file = _deadly(checkpoint.save_file, writes, die_at)
        output_folder.flush = _deadly(output_folder.flush, writes, die_at)
    fit(recipe(**fields), pairs(), run, Limits(checkpoint_minutes=0))


def command(words, log):
    """mrct-train with these words, which tells what it tells in the file `log`, and saves after every step."""
    told = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for standard in (1, 2):
        os.dup2(told, standard)
    sys.argv = ["mrct-train", *words]
    # what a run of hours does every five minutes
    fit_module.Limits = partial(Limits, checkpoint_minutes=0)
    main_train()


def _deadly(real, writes, die_at):
    def write(*arguments):
        if next(writes) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)

    return write


def kill_some_time_after_progress(process, run, seconds):
    """Wait until the process has written another checkpoint, and a while more; then kill it with no warning."""
    before, deadline = latest(run), time.monotonic() + 120
    while latest(run) == before and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(seconds)
    process.kill()
    process.join()
