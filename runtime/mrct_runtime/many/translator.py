"""One study after the other by one engine: what fails is an outcome, and the next study's turn comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Final

from mrct_runtime.engines import Engine
from mrct_runtime.errors import BundleError, EngineError, MrctError, told
from mrct_runtime.filling import Audience, Order
from mrct_runtime.many.outcome import Outcome
from mrct_runtime.many.starts import counted
from mrct_runtime.many.studies import Study, refuse_the_study
from mrct_runtime.result import Result, claim

ATTEMPTS: Final = 2
"""How often a study is tried in one run that fails by its engine or unexpectedly, and may end otherwise with a new engine."""


class Translator:
    """Translates studies into folders of `outs`; the engine is opened for the first and kept for all, until `close`.

    An error that lies in no study, such as an engine that cannot be opened, is raised.
    """

    def __init__(
        self,
        order: Order,
        outs: Path,
        audience: Callable[[Study], Audience],
        tell: Callable[[str], None] = lambda _: None,
        *,
        overwrite: bool = False,
    ) -> None:
        self._order, self._outs, self._overwrite = order, outs, overwrite
        self._audience, self._tell = audience, tell
        self._engine: Engine | None = None

    def __call__(self, study: Study) -> Outcome:
        """What became of the study."""
        started = time.perf_counter()
        for attempt in count(1):
            engine = self._opened()
            try:
                result = self._translate(study, engine)
            except BundleError:
                raise
            except Exception as error:  # noqa: BLE001  one study's failure is not the others'
                code = error.exit_code if isinstance(error, MrctError) else MrctError.exit_code
                if isinstance(error, EngineError) or not isinstance(error, MrctError):
                    # what failed may have left the device unusable
                    self.close()
                    if attempt < ATTEMPTS:
                        continue
                reason = study.anonymous(told(error), self._outs / study.name)
                seconds = time.perf_counter() - started
                return Outcome(
                    id=study.id, code=code, reason=reason, attempts=attempt, seconds=seconds
                )
            return Outcome(
                id=study.id,
                code=0,
                attempts=attempt,
                seconds=time.perf_counter() - started,
                engine=asdict(result.backend),
                warnings=self._order.outputs.warnings(result),
            )
        raise AssertionError

    def _translate(self, study: Study, engine: Engine) -> Result:
        place = self._outs / study.name
        refuse_the_study(place, study.path)
        with claim(place, overwrite=self._overwrite) as folder, counted(folder):
            audience = self._audience(study)
            result = self._order.fill(folder, study.path, lambda: nullcontext(engine), audience)
            folder.commit()
        return result

    def _opened(self) -> Engine:
        if self._engine is None:
            bundle, settings = self._order.bundle, self._order.settings
            self._engine = bundle.open_engine(settings.target_of(bundle), self._tell)
        return self._engine

    def close(self) -> None:
        """Closes the engine, which a next study opens again."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
