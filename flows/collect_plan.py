"""collect --plan: what is missing and what it will come to, before anything is spent."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from cluster.candidate import Candidate
from cluster.errors import LakeError
from cluster.files.quarantine import Quarantine
from cluster.jobs.ingest import IngestSpec, read_queries
from cluster.jobs.run import Manifest
from cluster.lake.estimate import Estimate, dataset_queries, estimate, text_bytes
from cluster.lake.lake import Lake
from cluster.packing import pools_of


def make_plan(
    spec: IngestSpec, *, candidates: Sequence[Candidate], lake: Lake | None, budget: int
) -> Manifest:
    """Rows, tokens, USD and GPU-hours that are missing for each candidate; nothing is written.

    Args:
        spec: the query files, and the dataset they go to.
        candidates: who is to answer.
        lake: what is there already; None for nothing.
        budget: queries to choose, 0 for all.

    Raises:
        InputError: a file cannot be read, or a column is missing.
    """
    queries, broken = _queries(spec, lake=lake)
    estimates = estimate(queries, candidates=candidates, lake=lake, budget=budget or None)
    return {
        "flow": "collect",
        "plan": [asdict(one) for one in estimates],
        "pools": [pool.words for pool in pools_of(candidates)],
        "queries": queries.height,
        "broken": broken,
        "budget": budget,
        "total": _total(estimates),
    }


def existing_lake(uri: str) -> Lake | None:
    """The lake, or None where there is none yet; a plan makes none.

    Raises:
        LakeError: it cannot be reached.
    """
    try:
        return Lake.open(uri, create=False)
    except LakeError as error:
        if "there is no lake here" in str(error):
            return None
        raise


def _queries(spec: IngestSpec, *, lake: Lake | None) -> tuple[pl.DataFrame, int]:
    """`query_id`, `bytes` of the dataset with the files' new ones, and how many rows are broken."""
    there, elsewhere = dataset_queries(lake, dataset=spec.dataset)
    if not spec.files:
        return there, 0
    with (
        tempfile.TemporaryDirectory() as folder,
        Quarantine(f"{folder}/quarantine.jsonl", max_error_share=1.0) as quarantine,
    ):
        frames = [
            text_bytes(frame.lazy()).collect()
            for frame in read_queries(spec, quarantine=quarantine, progress=lambda _: None)
        ]
    given = pl.concat(frames)
    own = given.filter(~pl.col("query_id").is_in(elsewhere.implode()))
    return pl.concat([there, own]).unique("query_id", maintain_order=True), quarantine.broken


def _total(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """The sums over the candidates; None where one of them is not known."""

    def known(values: list[float | None]) -> float | None:
        return None if None in values else sum(value or 0.0 for value in values)

    return {
        "missing": sum(one.missing for one in estimates),
        "prompt_tokens": sum(one.prompt_tokens for one in estimates),
        "completion_tokens": sum(one.completion_tokens for one in estimates),
        "cost_usd": known([one.cost_usd for one in estimates]),
        "gpu_hours": known([one.gpu_hours for one in estimates]),
        "gpu_cost_usd": known([one.gpu_cost_usd for one in estimates]),
    }


def show_plan(manifest: Manifest) -> None:
    """The plan as a table on stderr, and which candidates run beside each other."""
    rows = manifest["plan"]
    has_gpus = any(row["gpu_hours"] != 0 for row in rows)
    names = ("candidate", "missing", "of", "tokens in", "tokens out", "USD")
    heads = (*names, *(("GPU-hours", "USD of GPUs") if has_gpus else ()))
    table = Table(title="answers that are missing", box=box.SIMPLE_HEAD)
    for head in heads:
        name = head == "candidate"
        table.add_column(
            head,
            justify="left" if name else "right",
            overflow="fold",
            min_width=len(head) if name else None,
            no_wrap=not name and head != "USD of GPUs",
        )
    for row in rows:
        table.add_row(row["candidate"], *_amounts(row, of=row["required"], has_gpus=has_gpus))
    if len(rows) > 1:
        of = sum(row["required"] for row in rows)
        table.add_section()
        table.add_row("all", *_amounts(manifest["total"], of=of, has_gpus=has_gpus))
    console = Console(stderr=True)
    console.print(table)
    for line in _words(manifest):
        console.print(line, soft_wrap=True, highlight=False)


def _amounts(row: dict[str, Any], *, of: int, has_gpus: bool) -> list[str]:
    money = ("cost_usd", "gpu_hours", "gpu_cost_usd") if has_gpus else ("cost_usd",)
    return [
        f"{row['missing']:,}",
        f"{of:,}",
        f"{row['prompt_tokens']:,}",
        f"{row['completion_tokens']:,}",
        *(_amount(row[name]) for name in money),
    ]


def _amount(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.4g}"


def _words(manifest: Manifest) -> list[str]:
    """What the table is estimated from, the workers, and what would be left out."""
    by_source: dict[str, list[str]] = {}
    for row in manifest["plan"]:
        if row["source"]:
            by_source.setdefault(row["source"], []).append(row["candidate"])
    lines = [f"{', '.join(names)}: estimated from {source}" for source, names in by_source.items()]
    lines += [f"workers: {pool}" for pool in manifest["pools"]]
    if manifest["broken"]:
        lines.append(f"{manifest['broken']:,} rows are broken and would be left out")
    return lines
