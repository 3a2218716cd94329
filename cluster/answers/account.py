"""What answers came to, beside what was expected of the same ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from cluster.answers.expected import Expected, plus


@dataclass
class Account:
    """One candidate's answers.

    Attributes:
        answered: how many there are.
        errors: requests that failed.
        unasked: requests that were never made, as the money had run out.
        truncated: of the answers, those cut at their limit.
        prompt_tokens, completion_tokens, usd: of all that was asked, failed ones too; None where
            one's is not known.
        predicted: of the same requests.
    """

    answered: int = 0
    errors: int = 0
    unasked: int = 0
    truncated: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float | None = 0.0
    predicted: Expected = field(default_factory=Expected)

    def add(self, calls: pl.DataFrame, *, column: int, ratio: float | None) -> None:
        """Count requests to this candidate, as `Answered.calls` has them."""
        asked = calls.filter(pl.col("outcome").is_not_null())
        failed = asked.filter(pl.col("outcome") == "error")
        self.unasked += calls.height - asked.height
        self.errors += failed.height
        self.answered += asked.height - failed.height
        self.truncated += asked.filter(pl.col("outcome") == "truncated").height
        self.prompt_tokens += int(asked["prompt_tokens"].sum())
        self.completion_tokens += int(asked["completion_tokens"].sum())
        # An answer that failed before a token was read has cost nothing that anybody could know.
        paid = asked.filter((pl.col("outcome") != "error") | pl.col("cost_usd").is_not_null())
        known = paid["cost_usd"].null_count() == 0
        self.usd = plus(self.usd, float(paid["cost_usd"].sum()) if known else None)
        self.predicted += Expected.of(asked, column=column, ratio=ratio)

    def told(self) -> dict[str, Any]:
        """As a manifest has it."""
        return {**vars(self), "predicted": self.predicted.told()}


@dataclass
class Accounts:
    """Those of all candidates, in the order of the router's.

    Attributes:
        names: the candidates.
        ratios: prompt tokens a character by name, where known.
    """

    names: Sequence[str]
    ratios: Mapping[str, float]
    by_name: dict[str, Account] = field(default_factory=dict)

    def add(self, calls: pl.DataFrame) -> None:
        """Count requests, each once."""
        for column, name in enumerate(self.names):
            own = calls.filter(pl.col("name") == name)
            account = self.by_name.setdefault(name, Account())
            account.add(own, column=column, ratio=self.ratios.get(name))

    def told(self) -> list[dict[str, Any]]:
        """Of the candidates that somebody was to be answered by."""
        return [
            {"candidate": name, **account.told()}
            for name, account in self.by_name.items()
            if account.answered or account.errors or account.unasked
        ]
