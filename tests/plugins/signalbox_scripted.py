"""An engine that answers by a script, for tests of what is made of answers.

A candidate's `model` is a JSON file: a part of a prompt → the answer to prompts with it; the first
part that is found counts. An answer that begins with `error:` becomes an error row, `broken:` the
end of the engine, and `cut:` an answer that was cut off. Every prompt that is asked leaves its
`query_id` in a file beside it, `.log`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from cluster.candidate import Candidate
from cluster.completion import completions
from cluster.engines.engine import Engine, Request
from cluster.errors import EngineError


class ScriptedEngine(Engine):
    """Answers what its file says."""

    loads_weights: ClassVar[bool] = False

    def __init__(self, candidate: Candidate) -> None:
        self.candidate_id = candidate.candidate_id
        self.file = Path(candidate.model)
        self.script: dict[str, str] = json.loads(self.file.read_text(encoding="utf-8"))

    def answer(self, requests: Sequence[Request]) -> pl.DataFrame:
        with self.file.with_suffix(".log").open("a") as log:
            log.writelines(f"{one.query_id}\n" for one in requests)
        rows = [self._row(one) for one in requests]
        names = rows[0].keys() if rows else ()
        return completions({name: [row[name] for row in rows] for name in names})

    def close(self) -> None:
        pass

    def _row(self, request: Request) -> dict[str, Any]:
        told = next(text for part, text in self.script.items() if part in request.text)
        if told.startswith("broken:"):
            raise EngineError(told)
        failed, cut = told.startswith("error:"), told.startswith("cut:")
        return {
            "query_id": request.query_id,
            "candidate_id": self.candidate_id,
            "sample": 0,
            "text": None if failed else told.removeprefix("cut:"),
            "finish_reason": None if failed else "length" if cut else "stop",
            "prompt_tokens": 10,
            "completion_tokens": 0 if failed else 5,
            "seconds": 0.0,
            "outcome": "error" if failed else "truncated" if cut else "ok",
            "error": told if failed else None,
        }
