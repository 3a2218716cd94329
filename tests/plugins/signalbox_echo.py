"""An engine that answers with a hash, for tests of what surrounds an engine.

A folder on PYTHONPATH with a `.dist-info` beside the module is an installed package, so every
process that inherits the path can load it by name. `ECHO_FOLDER` names a folder:

    log       one line `pid candidate_id query_id sample` for every answer, when it was generated
    failing   while it exists, texts with "flaky" in them become error rows
    dying     while it exists, a text with "poison" in it kills the process

Texts with "broken" in them always fail. A candidate's `model` is the number of seconds a call
takes.
"""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from cluster.candidate import Candidate
from cluster.completion import COMPLETION_SCHEMA
from cluster.engines.engine import Engine, Request
from cluster.query import digest


class EchoEngine(Engine):
    """Answers `sha256(text, sample)`."""

    loads_weights: ClassVar[bool] = False

    def __init__(self, candidate: Candidate) -> None:
        self.candidate_id = candidate.candidate_id
        self.seconds = float(candidate.model)
        self.folder = Path(os.environ["ECHO_FOLDER"])

    def answer(self, requests: Sequence[Request]) -> pl.DataFrame:
        if (self.folder / "dying").exists() and any("poison" in one.text for one in requests):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.seconds)
        rows = [self._row(one, sample) for one in requests for sample in one.samples]
        self._log(rows)
        return pl.DataFrame(rows, schema=COMPLETION_SCHEMA)

    def close(self) -> None:
        pass

    def _row(self, request: Request, sample: int) -> dict[str, Any]:
        flaky = "flaky" in request.text and (self.folder / "failing").exists()
        error = "this text always fails" if "broken" in request.text else None
        error = "the switch is on" if flaky else error
        return {
            "query_id": request.query_id,
            "candidate_id": self.candidate_id,
            "sample": sample,
            "text": None if error else digest([request.text, sample]),
            "finish_reason": None if error else "stop",
            "prompt_tokens": len(request.text),
            "completion_tokens": 0 if error else 64,
            "seconds": 0.001,
            "outcome": "error" if error else "ok",
            "error": error,
            "cost_usd": None,
        }

    def _log(self, rows: list[dict[str, Any]]) -> None:
        """One write: lines of several processes never mix."""
        lines = [f"{os.getpid()} {self.candidate_id} {r['query_id']} {r['sample']}\n" for r in rows]
        log = os.open(self.folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, "".join(lines).encode())
        os.close(log)
