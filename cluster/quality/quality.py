"""All measures of a collection's quality, as numbers and as alarms."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from cluster.lake.lake import Lake
from cluster.quality import (
    agreement,
    answers,
    complementarity,
    correlation,
    coverage,
    decided,
    duplicates,
    judges,
    luck,
)
from cluster.quality.agreement import Agreement
from cluster.quality.alarm import Alarm, gap, level, percent
from cluster.quality.answers import Answers
from cluster.quality.collected import Collected, read_collected
from cluster.quality.comparable import Comparable, comparable
from cluster.quality.complementarity import Complementarity
from cluster.quality.correlation import Correlation
from cluster.quality.coverage import Coverage
from cluster.quality.decided import Decided
from cluster.quality.duplicates import Duplicates
from cluster.quality.luck import Luck


@dataclass(frozen=True)
class Compared:
    """What is told of the complete part of the matrix."""

    decided: Decided
    correlation: Correlation
    complementarity: Complementarity


@dataclass(frozen=True)
class Quality:
    """What is known of a dataset under one scorer.

    Attributes:
        dataset, scorer: names.
        splits: queries by split.
        not_chosen: queries that a budget has left out.
        tasks: how many there are.
        candidates: names of all.
        data: the part that can be compared.
        compared: of that part; None where no query has a reward of two candidates.
        judges: what is known of judges, see `cluster.rewards.judge_report`.
        alarms: in the order of the report.
    """

    dataset: str
    scorer: str
    splits: dict[str, int]
    not_chosen: int
    tasks: int
    candidates: tuple[str, ...]
    coverage: Coverage
    answers: Answers
    duplicates: Duplicates
    data: Comparable
    compared: Compared | None
    luck: Luck
    agreements: list[Agreement]
    judges: pl.DataFrame
    alarms: tuple[Alarm, ...]

    @property
    def queries(self) -> int:
        """How many there are."""
        return sum(self.splits.values())


def quality(lake: Lake, *, dataset: str, scorer: str = "") -> Quality:
    """Measure a dataset; nothing is written.

    Raises:
        InputError: no such dataset or scorer in the lake; the text lists what there is.
    """
    found = read_collected(lake, dataset=dataset, scorer=scorer)
    data = comparable(found)
    parts: dict[str, Any] = {
        "coverage": coverage.coverage(found, lake=lake),
        "answers": answers.answers(found, lake=lake),
        "duplicates": duplicates.duplicates(found),
        "compared": _compared(data),
        "luck": luck.luck(found, data),
        "agreements": agreement.agreements(found),
        "judges": judges.judges(lake, dataset=dataset),
    }
    splits = found.queries["split"].fill_null("").value_counts(sort=True)
    return Quality(
        dataset=dataset,
        scorer=found.cells.name,
        splits=dict(splits.iter_rows()),
        not_chosen=found.not_chosen,
        tasks=len(np.unique(found.tasks)),
        candidates=found.candidates,
        data=data,
        alarms=_alarms(found, parts),
        **parts,
    )


def _compared(data: Comparable) -> Compared | None:
    if not len(data) or len(data.candidates) < 2:
        return None
    return Compared(
        decided=decided.decided(data),
        correlation=correlation.correlation(data),
        complementarity=complementarity.complementarity(data),
    )


def _alarms(found: Collected, parts: dict[str, Any]) -> tuple[Alarm, ...]:
    compared: Compared | None = parts["compared"]
    told = [
        *coverage.alarms(parts["coverage"]),
        *answers.alarms(parts["answers"]),
        *duplicates.alarms(parts["duplicates"]),
    ]
    if compared is None:
        told.append(
            Alarm(
                "compared",
                f"No query has rewards of two candidates ({len(found.candidates)} candidates, "
                f"{found.queries.height:,} queries): nothing can be compared.",
                "Run all candidates on the same queries.",
            )
        )
        return (*told, *_alarms_of_scorers(parts))
    return (
        *told,
        *decided.alarms(compared.decided),
        *correlation.alarms(compared.correlation),
        *complementarity.alarms(compared.complementarity),
        *luck.alarms(parts["luck"]),
        *_alarms_of_scorers(parts),
    )


def _alarms_of_scorers(parts: dict[str, Any]) -> tuple[Alarm, ...]:
    return (*agreement.alarms(parts["agreements"]), *judges.alarms(parts["judges"]))


def headline(found: Quality) -> list[tuple[str, str]]:
    """What to look at first: (what it is, its value in words)."""
    shares = found.coverage.shares
    rows = [
        ("queries", f"{found.queries:,}"),
        ("candidates", f"{len(found.candidates):,}"),
        ("answers with a reward", percent(shares["rewarded"] + shares["truncated"])),
    ]
    if found.compared is not None:
        gains, unit = found.compared.complementarity, found.compared.complementarity.is_unit
        rows += [
            (f"best single: {gains.best}", level(gains.best_single, is_unit=unit)),
            ("best for each task", level(gains.task_lookup, is_unit=unit)),
            ("best for each query (oracle)", level(gains.oracle, is_unit=unit)),
            ("oracle over best single", gap(gains.gain.value, is_unit=unit)),
            ("queries with all rewards equal", percent(found.compared.decided.all_equal)),
        ]
    return [*rows, ("alarms", f"{len(found.alarms)}")]


def as_json(found: Quality) -> bytes:
    """The numbers behind the report, UTF-8 JSON; what is not known is null."""
    content: dict[str, Any] = {
        "dataset": found.dataset,
        "scorer": found.scorer,
        "queries": found.queries,
        "splits": found.splits,
        "not_chosen": found.not_chosen,
        "tasks": found.tasks,
        "candidates": list(found.candidates),
        "alarms": [asdict(alarm) for alarm in found.alarms],
        "coverage": {
            "shares": found.coverage.shares,
            "cells": found.coverage.cells.to_dicts(),
            "reasons": found.coverage.reasons.to_dicts(),
            "reward_of_truncated": found.coverage.reward_of_truncated,
            "reward_of_whole": found.coverage.reward_of_whole,
        },
        "answers": {
            "candidates": found.answers.table.to_dicts(),
            "repeated": dict(found.answers.repeated),
        },
        "duplicates": vars(found.duplicates) | {"near": found.duplicates.near.to_dicts()},
        "comparable": {
            "queries": len(found.data),
            "candidates": list(found.data.candidates),
            "left_out": list(found.data.left_out),
        },
        **_numbers_of_compared(found.compared),
        "luck": asdict(found.luck) | {"inflation": found.luck.inflation},
        "agreement": [asdict(one) for one in found.agreements],
        "judges": found.judges.to_dicts(),
    }
    return json.dumps(_plain(content), ensure_ascii=False, indent=1).encode()


def _numbers_of_compared(found: Compared | None) -> dict[str, Any]:
    if found is None:
        return {}
    ties = found.decided
    return {
        "decided": {
            "tied": ties.tied,
            "all_equal": ties.all_equal,
            "all_worst": ties.all_worst,
            "all_best": ties.all_best,
            "mean_entropy_nats": ties.nats.mean(),
            "most_entropy_nats": ties.most_nats,
            "entropy_quantiles_nats": np.quantile(ties.nats, [0.1, 0.25, 0.5, 0.75, 0.9]),
        },
        "correlation": asdict(found.correlation),
        "complementarity": asdict(found.complementarity),
    }


def _plain(value: Any) -> Any:
    """As JSON has it: lists and numbers, null for what is not one."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, pl.Series):
        return [_plain(part) for part in value.to_list()]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
