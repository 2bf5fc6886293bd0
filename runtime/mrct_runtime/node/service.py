"""The whole node: it receives, closes studies, translates one at a time and sends, until it is told to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Final

from mrct_runtime.node.configuration import NodeConfig
from mrct_runtime.node.event_log import Tell, place_of
from mrct_runtime.node.health import Health, answering
from mrct_runtime.node.incoming import Incoming
from mrct_runtime.node.inference import Inference
from mrct_runtime.node.listening import associations_alive
from mrct_runtime.node.pipeline import Pipeline
from mrct_runtime.node.receiver import Reception, receiving
from mrct_runtime.node.room import Room
from mrct_runtime.node.sender import Sender
from mrct_runtime.node.spool import JOB_STATES, RECEIVING, Spool, claimed, write_json

HEALTH: Final = "health.json"
_BEAT_S: Final = 0.1
_AFTER_ERROR_S: Final = 2.0
_HEALTH_S: Final = 2.0
_UPKEEP_S: Final = 10.0
_JOIN_S: Final = 5.0


@dataclass(frozen=True, eq=False)
class Node:
    """`program` is the function that translates, as module:attribute; `stopping` ends the node."""

    config: NodeConfig
    program: str
    tell: Tell
    stopping: threading.Event = field(default_factory=threading.Event)
    _faults: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Works until `stopping` is set; what was begun then is in the queue, and goes on at the next start."""
        with ExitStack() as stack:
            spool = stack.enter_context(claimed(self.config.spool))
            pipeline = Pipeline(spool, self.tell)
            incoming = Incoming(spool, self.config.limits.study_instances)
            room = Room(spool, self.config.limits)
            reception = Reception(self.config, incoming, room, self.tell)

            def health() -> Health:
                return self._health(spool, incoming, room)

            stack.enter_context(answering(health, self.config.health_port))
            stack.callback(self._say_goodbye, spool, health)
            stack.enter_context(receiving(reception))
            send = Sender(self.config, self.stopping)
            threads = self._loops(spool, pipeline, incoming, send, health)
            self.tell(
                "listening", title=self.config.title, at=f"{self.config.bind}:{self.config.port}"
            )
            self.stopping.wait()
            self.tell("stopping")
            reception.closing.set()
            send.cut()
            for thread in threads:
                thread.join(_JOIN_S)

    def _loops(
        self,
        spool: Spool,
        pipeline: Pipeline,
        incoming: Incoming,
        send: Sender,
        health: Callable[[], Health],
    ) -> list[threading.Thread]:
        config = self.config
        words = (*config.infer, *(("--bundle", str(config.bundle)) if config.bundle else ()))
        translate = Inference(
            self.program, ("--quiet", *words), config.infer_s, spool.lock, self.stopping
        )
        works: dict[str, tuple[Callable[[], object], float]] = {
            "closing": (lambda: self._close(incoming), _BEAT_S),
            "translation": (
                lambda: pipeline.translate_next(translate, config.inference_retries),
                _BEAT_S,
            ),
            "sending": (lambda: pipeline.send_next(send, config.sending_retries), _BEAT_S),
            "health": (lambda: write_json(spool.root / HEALTH, health()), _HEALTH_S),
            "upkeep": (lambda: self._keep_up(spool, pipeline), _UPKEEP_S),
        }
        threads = [
            threading.Thread(target=self._loop, args=(name, *work), daemon=True)
            for name, work in works.items()
        ]
        for thread in threads:
            thread.start()
        return threads

    def _loop(self, name: str, work: Callable[[], object], beat_s: float) -> None:
        """Does the work again and again, at once while there is more of it; an error is told, and it is tried again."""
        while not self.stopping.is_set():
            wait_s = beat_s
            try:
                if work() is True:
                    wait_s = 0.0
                self._faults.pop(name, None)
            except Exception as error:  # noqa: BLE001 - what fails for one job must not end the loop for all others
                self._faults[name] = type(error).__name__
                self.tell("internal", loop=name, error=type(error).__name__, at=place_of(error))
                wait_s = _AFTER_ERROR_S
            self.stopping.wait(wait_s)

    def _close(self, incoming: Incoming) -> None:
        for study in incoming.complete(self.config.quiet_s, self.config.max_age_s):
            with incoming.spool.turn:  # a job that is free to go may be gone
                closed = incoming.close(study)
                if closed is None:
                    self.tell("known", study=study)
                    continue
                count = sum(1 for _ in closed.instances.iterdir())
                uid = closed.record.study_uid
            self.tell("complete", study=uid, job=closed.serial, instances=count)

    def _keep_up(self, spool: Spool, pipeline: Pipeline) -> None:
        pipeline.forget(self.config.keep_days)
        limits = self.config.limits
        before = time.time() - 2 * (limits.network_s + limits.message_s)
        for path in spool[RECEIVING].iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()

    def _health(self, spool: Spool, incoming: Incoming, room: Room) -> Health:
        counts = {state: len(list(spool[state].iterdir())) for state in JOB_STATES}
        faults = [f"{name}: {why}" for name, why in self._faults.copy().items()]
        fault = "stopping" if self.stopping.is_set() else room.fault() or ", ".join(faults)
        return {
            "ok": not fault,
            "fault": fault,
            "time": time.time(),
            "received": incoming.received,
            "last_received": incoming.last_received,
            "associations": associations_alive(),
            "arriving": len(incoming),
            **counts,
            "spool_bytes": room.used(),
            "free_bytes": spool.bytes_free(),
        }

    def _say_goodbye(self, spool: Spool, health: Callable[[], Health]) -> None:
        with suppress(OSError):
            write_json(spool.root / HEALTH, {**health(), "ok": False, "fault": "stopped"})
        self.tell("stopped")
