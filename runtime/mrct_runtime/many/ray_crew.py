"""Workers as actors of a Ray cluster, one of this machine alone where no other is named."""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Final

from mrct_runtime.engines import ENGINES
from mrct_runtime.engines.target import Target
from mrct_runtime.errors import EngineError, MrctError, UsageError, first_line
from mrct_runtime.many.outcome import Outcome
from mrct_runtime.many.ray_worker import RayWorker, Task
from mrct_runtime.many.studies import Study
from mrct_runtime.many.supervisor import Answer, Word

LOCAL: Final = "local"
"""The address of a cluster that is started for one command, on this machine."""
_AUTO: Final = "auto"
_OBJECTS_BYTES: Final = (
    80_000_000  # nothing large goes through Ray; it takes a third of the memory by itself
)
_POLL_S: Final = 1.0
_CONNECT_S: Final = 10.0
_PATIENCE_S: Final = 600.0


@dataclass(frozen=True)
class Crowd:
    """How many workers there are, and what each gets."""

    workers: int
    cpus: int
    gpus: int

    @classmethod
    def fitting(cls, target: Target, workers: int | None, nodes: list[dict[str, float]]) -> Crowd:
        """A worker for each GPU, or else for each node, unless `workers` are asked for; `nodes` have each one's resources.

        The CPUs are shared out among them, of one machine for each. UsageError where the nodes have too little.
        """
        cpus = [int(node.get("CPU", 0)) for node in nodes]
        gpus = int(sum(node.get("GPU", 0) for node in nodes)) if _may_use_gpu(target) else 0
        if target.device == "cuda" and not gpus:
            raise EngineError("the Ray cluster has no GPU; --device cpu does without")
        wanted = workers or gpus or len(nodes)
        threads = target.threads or (1 if gpus else _most_each(cpus, wanted))
        places = sum(count // threads for count in cpus)
        if wanted > min(places, gpus or places):
            raise UsageError(
                f"{wanted} workers of {threads} CPUs{' and a GPU' if gpus else ''} are more than the Ray cluster has: "
                f"{sum(cpus)} CPUs, {gpus} GPUs on {len(nodes)} machines; lower --workers or --threads"
            )
        return cls(wanted, threads, 1 if gpus else 0)


def _most_each(cpus: list[int], workers: int) -> int:
    """The most CPUs that each of the workers can have on one machine; 1 where there are too few."""
    fitting = (n for n in range(max(cpus), 0, -1) if sum(count // n for count in cpus) >= workers)
    return next(fitting, 1)


def _may_use_gpu(target: Target) -> bool:
    if target.gpu is not None and target.device != "cuda":
        raise UsageError(f"Ray chooses a worker's GPU: --device cuda, not {target.device}")
    if target.backend in ENGINES:
        return ENGINES[target.backend].serves == "cuda"
    return target.device != "cpu"


class RayCrew:
    """The actors; each is asked whether it is there before it is given anything."""

    def __init__(self, ray: ModuleType, crowd: Crowd, task: Task) -> None:
        self._ray = ray
        options = {"num_cpus": crowd.cpus, "num_gpus": crowd.gpus, "max_restarts": 0}
        self._actor = ray.remote(**options)(RayWorker)
        self._task = ray.put(task)
        self._actors: dict[int, Any] = {}
        self._asked: dict[Any, int] = {}
        self._starting: set[int] = set()
        for worker in range(crowd.workers):
            self._start(worker)

    def give(self, worker: int, study: Study) -> None:
        """Asks the actor to translate the study."""
        self._asked[self._actors[worker].translate.remote(study)] = worker

    def wait(self) -> tuple[int, Answer]:
        """The next answer of an actor; a dead one is replaced."""
        waited = time.monotonic()
        while True:
            # a signal is looked at between two waits
            done, _ = self._ray.wait(list(self._asked), num_returns=1, timeout=_POLL_S)
            if done:
                worker = self._asked.pop(done[0])
                return worker, self._answer(worker, done[0])
            busy = len(self._asked) > len(self._starting)
            if not busy and time.monotonic() - waited > _PATIENCE_S:
                raise EngineError(
                    f"no Ray worker has started within {_PATIENCE_S:.0f} s; is the cluster full?"
                )

    def _answer(self, worker: int, asked: Any) -> Answer:
        try:
            found: Outcome | MrctError | None = self._ray.get(asked)
        except self._ray.exceptions.RayTaskError as error:
            raise MrctError(
                f"internal: {type(error.cause).__name__} in a Ray worker; its log has more"
            ) from None
        except self._ray.exceptions.RayError:
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(self._actors[worker])
            self._start(worker)
            return Word.DIED
        self._starting.discard(worker)
        if isinstance(found, MrctError):
            raise found
        return found or Word.READY

    def _start(self, worker: int) -> None:
        actor = self._actor.remote(self._task)
        self._actors[worker] = actor
        self._asked[actor.ready.remote()] = worker
        self._starting.add(worker)


@contextmanager
def ray_crew(address: str, workers: int | None, task: Task) -> Iterator[RayCrew]:
    """The crew, as long as the block lasts; its studies are then stopped where they are, to be resumed."""
    if address not in {LOCAL, _AUTO}:
        _check_listening(address)
    ray = _ray(address)
    with _connected(ray, address):
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        crowd = Crowd.fitting(task.settings.target, workers, nodes)
        target = task.settings.target
        threads = target.threads if crowd.gpus else crowd.cpus
        settings = replace(task.settings, target=replace(target, threads=threads))
        yield RayCrew(ray, crowd, replace(task, settings=settings))


def _ray(address: str) -> ModuleType:
    # read when Ray is imported: it reports its usage to its makers otherwise
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address == LOCAL:
        # it listens at every interface, so nobody else must know the word
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise EngineError("ray is not installed: pip install 'mrct[ray]'") from error


def _check_listening(address: str) -> None:
    """EngineError where nothing listens there, which Ray takes minutes to find out."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise UsageError(
            f"a Ray cluster is at HOST:PORT, or auto finds this machine's, got {address}"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"no Ray cluster at {address}: {first_line(error)}; `ray start --head` tells its address"
        ) from error


@contextmanager
def _connected(ray: ModuleType, address: str) -> Iterator[None]:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        options |= {
            "num_cpus": len(os.sched_getaffinity(0)),
            "include_dashboard": False,
            "object_store_memory": _OBJECTS_BYTES,
        }
    stop = signal.getsignal(signal.SIGTERM)
    # Ray tells of dead workers on stdout, which is for what this command finds
    with redirect_stdout(sys.stderr):
        try:
            ray.init(address, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise EngineError(f"no Ray cluster at {address}: {first_line(error)}") from error
        try:
            # Ray has taken the signal for itself
            signal.signal(signal.SIGTERM, stop)
            yield
        finally:
            ray.shutdown()
