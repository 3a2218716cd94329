"""LLMRouter's training data, as `llmrouter/data` of ulab-uiuc/LLMRouter describes and loads it.

A folder with, for each split, `routing_<split>_data.jsonl` (a line a (query, candidate):
`performance`, `response`, tokens, `embedding_id`) and `query_data_<split>.jsonl` (a line a query),
and `default_llm.json`, the candidates. LLMRouter itself trains on train and test; embeddings it
makes of the queries, one an `embedding_id`.
"""

import json
from typing import Any, ClassVar

import polars as pl

from cluster.errors import InputError
from cluster.exporters.cells import json_lines, read_cells
from cluster.exporters.exporter import Export, Exporter, ExportRequest
from cluster.lake.candidates import newest_specs
from cluster.lake.lake import Lake
from cluster.lake.outcomes import check_outcomes, scorer_of
from cluster.lake.prices import read_prices
from cluster.lake.tables import CANDIDATES
from cluster.query import SPLITS

# LLMRouter numbers embeddings through train and then test.
ORDER = ("train", "test", "validation", "calibration")
CANDIDATE_FILE = "default_llm.json"


class LLMRouter(Exporter):
    """Outcomes as LLMRouter's routing data."""

    is_folder: ClassVar[bool] = True

    def check(self, request: ExportRequest, *, lake: Lake) -> None:
        """Make sure that a dataset is named and there."""
        if not request.dataset:
            raise InputError("--dataset: name the dataset whose outcomes are to be exported")
        check_outcomes(lake, dataset=request.dataset, scorer=request.scorer)

    def export(self, request: ExportRequest, *, lake: Lake) -> Export:
        """All splits, each in files of its own, or those that are named."""
        splits = request.splits or SPLITS
        cells = read_cells(lake, dataset=request.dataset, scorer=request.scorer, splits=splits)
        metric = scorer_of(lake, dataset=request.dataset, scorer=request.scorer)
        numbered = _numbered(cells)
        files: dict[str, bytes] = {}
        rows: dict[str, int] = {}
        for split in ORDER:
            own = numbered.filter(split=split)
            tables = (_routing(own, metric=metric), _queries(own, metric=metric))
            for name, table in zip(_names(split), tables, strict=True):
                if table.height:
                    files[name], rows[name] = json_lines(table), table.height
        entries = _candidates(cells, lake=lake, prices=request.prices)
        files[CANDIDATE_FILE] = (json.dumps(entries, ensure_ascii=False, indent=2) + "\n").encode()
        return Export(
            files=files,
            rows=rows,
            told={"scorer": metric, "candidates": list(entries)},
            stale=tuple(name for split in ORDER for name in _names(split) if name not in files),
        )


def _names(split: str) -> tuple[str, str]:
    """The two files of a split."""
    return (f"routing_{split}_data.jsonl", f"query_data_{split}.jsonl")


def _numbered(cells: pl.DataFrame) -> pl.DataFrame:
    """The cells with `embedding_id`: the running number of their query, train first."""
    queries = cells.select("query_id", "split").unique(maintain_order=True)
    placed = queries.sort(
        pl.col("split").replace_strict(
            {split: place for place, split in enumerate(ORDER)}, return_dtype=pl.Int64
        ),
        maintain_order=True,
    )
    numbers = placed.select("query_id").with_row_index("embedding_id")
    return cells.join(numbers, on="query_id", how="left", maintain_order="left")


def _asked(*, metric: str) -> list[pl.Expr]:
    """The fields of a query."""
    return [
        pl.col("task").alias("task_name"),
        pl.col("text").alias("query"),
        pl.col("reference").alias("ground_truth"),
        pl.lit(metric).alias("metric"),
        pl.lit(None, dtype=pl.String).alias("choices"),
        pl.lit(None, dtype=pl.String).alias("task_id"),
    ]


def _queries(cells: pl.DataFrame, *, metric: str) -> pl.DataFrame:
    return (
        cells.unique("query_id", maintain_order=True)
        .sort("embedding_id")
        .select(_asked(metric=metric))
    )


def _routing(cells: pl.DataFrame, *, metric: str) -> pl.DataFrame:
    tokens = pl.col("prompt_tokens", "completion_tokens").round().cast(pl.Int64)
    whole = cells.with_columns(tokens).sort("embedding_id", maintain_order=True)
    return whole.select(
        *_asked(metric=metric),
        model_name="candidate",
        response=pl.col("answer").fill_null(""),
        token_num=pl.col("prompt_tokens") + pl.col("completion_tokens"),
        input_tokens="prompt_tokens",
        output_tokens="completion_tokens",
        response_time="seconds",
        api_key_used=pl.lit(""),
        performance="reward",
        embedding_id="embedding_id",
        user_id=pl.lit(None, dtype=pl.String),
        fig_id=pl.lit(None, dtype=pl.String),
    )


def _candidates(cells: pl.DataFrame, *, lake: Lake, prices: str) -> dict[str, dict[str, Any]]:
    """Name → what is known of a candidate; size, service and endpoint are the user's to add."""
    known = read_prices(prices, lake=lake)
    specs = newest_specs(lake.scan(CANDIDATES)).select("candidate_id", "spec").collect()
    by_id = {key: json.loads(spec) for key, spec in specs.iter_rows()}
    entries: dict[str, dict[str, Any]] = {}
    for name, key in cells.select("candidate", "candidate_id").unique().sort("candidate").rows():
        entries[name] = {
            "feature": _feature(name, cells=cells.filter(candidate=name)),
            "model": by_id.get(key, {}).get("model", name),
        }
        if name in known:
            price = known[name]
            entries[name] |= {"input_price": price.input, "output_price": price.output}
    return entries


def _feature(name: str, *, cells: pl.DataFrame) -> str:
    """What LLMRouter embeds a candidate by: its mean reward on each task of train, in words."""
    train = cells.filter(split="train")
    means = train.group_by("task").agg(pl.col("reward").mean()).sort("task")
    if means.is_empty():
        return name
    listed = ", ".join(f"{task or 'queries'} {mean:.3f}" for task, mean in means.iter_rows())
    return f"{name}, whose mean reward on train queries is: {listed}."
