"""Stands for tests of measurements, which run in children: how long they take is known, and they write down their turns."""

from __future__ import annotations

import time
from pathlib import Path

from mrct_runtime.bench.clock import HostClock
from mrct_runtime.bench.stand import Stand
from mrct_runtime.errors import DeviceMemoryError, EngineError


class Sleeper:
    """Work that takes `seconds` for every image, and a line in `log` for every turn."""

    clock = HostClock()

    def __init__(self, asked) -> None:
        self._asked = asked
        self.facts = {"device": "cpu", "precision": "fp32", "weights": "none"}
        self.facts |= asked.get("facts", {})

    def case(self, batch):
        return lambda: time.sleep(batch * self._asked["seconds"])

    def device_memory(self):
        return None


class _Logged(Stand):
    def __init__(self, asked) -> None:
        super().__init__(lambda: Sleeper(asked))
        self._asked = asked

    def measure(self, batch, seconds):
        with Path(self._asked["log"]).open("a", encoding="utf-8") as log:
            log.write(f"{self._asked['name']}{batch} ")
        return super().measure(batch, seconds)


class _Hungry(_Logged):
    """Finds no memory for two images while the file `full` is there, which it removes."""

    def warm_up(self, batch, seconds):
        full = Path(self._asked["full"])
        if batch == 2 and full.exists():
            full.unlink()
            raise DeviceMemoryError("cuda:0 has too little memory")
        return super().warm_up(batch, seconds)


def logged(asked):
    return _Logged(asked)


def hungry(asked):
    return _Hungry(asked)


def refusing(_asked):
    raise EngineError("it cannot be had")


class _Hanging(_Logged):
    def warm_up(self, batch, seconds):
        time.sleep(600)


def hanging(asked):
    return _Hanging(asked)
