"""Asking a judge: prompts in, what it wrote out, each different prompt once."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from cluster.candidate import Candidate
from cluster.engines.engine import Engine, LocalEngine, Request, StoppedError
from cluster.errors import EngineError
from cluster.price import TOKENS_PER_UNIT
from cluster.query import digest
from cluster.rewards.judge_prompt import Room
from cluster.rewards.scorer import Usage

LOG = logging.getLogger("signalbox.judge")
# Of a chat template around the prompt.
_TEMPLATE_TOKENS = 64
# Columns of an answer that are looked at.
_READ = ("text", "outcome", "error", "prompt_tokens", "completion_tokens", "cost_usd")


@dataclass(frozen=True)
class Reply:
    """What a judge wrote, or why it wrote nothing."""

    text: str | None
    error: str | None = None


@dataclass
class Asker:
    """A loaded judge.

    Attributes:
        engine: that holds it.
        candidate: what it is.
        usage: what it has read and written since it was last looked at.
    """

    engine: Engine
    candidate: Candidate
    usage: Usage = field(default_factory=Usage)

    def room(self, *, characters: int) -> Room:
        """How much it can read beside its verdict, a text not more than so many characters."""
        if not isinstance(self.engine, LocalEngine):
            return Room(characters)
        tokenizer, context = self.engine.tokenizer, self.engine.context
        reserved = min(self.candidate.sampling.max_tokens, context // 4)
        around = f"{self.candidate.template}{self.candidate.system or ''}"
        framing = _n_tokens(tokenizer, around) + (_TEMPLATE_TOKENS if self.candidate.chat else 0)
        return Room(
            characters,
            tokens=context - reserved - framing,
            count=lambda prompt: _n_tokens(tokenizer, prompt),
            marks=tuple(tokenizer.all_special_tokens),
        )

    def ask(self, prompts: Sequence[str]) -> list[Reply]:
        """(n_prompts,) replies; equal prompts are asked once.

        Where the engine stops in between, what it had answered by then is paid for and kept.

        Raises:
            EngineError: not one is answered.
        """
        distinct = list(dict.fromkeys(prompts))
        if not distinct:
            return []
        rows = self._answered([Request(digest(["judge", text]), text) for text in distinct])
        self.usage += _usage(rows, candidate=self.candidate)
        failed = rows.filter(pl.col("outcome") == "error")
        if failed.height == rows.height:
            raise EngineError(f"the judge answers nothing: {failed['error'][0]}")
        if failed.height:
            first = failed["error"][0]
            LOG.warning(
                "%d of %d questions failed; the first: %s", failed.height, rows.height, first
            )
        replies = [Reply(*row) for row in rows.select("text", "error").iter_rows()]
        by_prompt = dict(zip(distinct, replies, strict=True))
        return [by_prompt[prompt] for prompt in prompts]

    def _answered(self, requests: Sequence[Request]) -> pl.DataFrame:
        """(n_requests,) rows in the requests' order; an error where the engine had stopped."""
        try:
            return self.engine.answer(requests)
        except StoppedError as error:
            had = error.rows.select("query_id", *_READ).unique("query_id", keep="first")
            if had.is_empty():
                raise
            wanted = pl.DataFrame({"query_id": [request.query_id for request in requests]})
            rows = wanted.join(had, on="query_id", how="left", maintain_order="left")
            left = pl.when(pl.col("outcome").is_null())
            return rows.with_columns(
                outcome=left.then(pl.lit("error")).otherwise("outcome"),
                error=left.then(pl.lit(str(error))).otherwise("error"),
                cost_usd=left.then(0.0).otherwise("cost_usd"),
            )

    def spent(self) -> Usage:
        """What was used since the last look."""
        used, self.usage = self.usage, Usage()
        return used


def _n_tokens(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text)["input_ids"])


def _usage(rows: pl.DataFrame, *, candidate: Candidate) -> Usage:
    """Tokens, and USD where the endpoint has told or a price is set."""
    prompt, completion = (rows[f"{kind}_tokens"].fill_null(0) for kind in ("prompt", "completion"))
    cost = rows["cost_usd"]
    if candidate.price is not None:
        priced = prompt * candidate.price.input + completion * candidate.price.output
        cost = cost.fill_null(priced / TOKENS_PER_UNIT)
    known = not cost.null_count()
    return Usage(int(prompt.sum()), int(completion.sum()), float(cost.sum()) if known else None)
