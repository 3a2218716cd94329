"""Query files and a router for the benchmarks of routing, made from what every Python carries.

A query is two passages of the Python reference of 20 words each with a number between: 260
characters, about 70 tokens of a BERT vocabulary, and no two alike.
"""

import re
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import polars as pl
from pyarrow import parquet

from cluster import registry
from cluster.drift.kept import profile_files
from cluster.drift.trained import Profiles
from cluster.lake.lake import Lake
from cluster.outcome import OutcomeMatrix
from cluster.routers.checkpoint import CheckpointMeta, save_checkpoint
from cluster.routers.fit import load_method
from cluster.routers.router import Router

PASSAGE_WORDS = 20
CHUNK_ROWS = 500_000
GROUP_ROWS = 125_000
CANDIDATES = tuple(f"model-{number}" for number in range(8))
FIT_ROWS = 6_000
TASKS = 7


def queries(count: int, *, seed: int) -> pl.Series:
    """(count,) texts."""
    rng = np.random.default_rng(seed)
    words = re.sub(r"[\"*`|+=\-]{2,}", " ", " ".join(topics.values())).split()
    starts = range(len(words) - PASSAGE_WORDS)
    passages = pl.Series([" ".join(words[start : start + PASSAGE_WORDS]) for start in starts])
    first, second = (passages.gather(rng.integers(len(passages), size=count)) for _ in range(2))
    number = pl.Series(rng.integers(10**6, size=count)).cast(pl.String)
    return pl.select(pl.concat_str(first, number, second, separator=" ")).to_series().alias("text")


def write_queries(file: Path, *, rows: int, group_rows: int = GROUP_ROWS) -> None:
    """A Parquet file of `id` and `text`, made and written a piece of whole row groups at a time."""
    writer = None
    piece = group_rows * max(1, CHUNK_ROWS // group_rows)
    for start in range(0, rows, piece):
        texts = queries(min(piece, rows - start), seed=start)
        frame = pl.DataFrame(
            {"id": pl.int_range(start, start + len(texts), eager=True), "text": texts}
        )
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        writer = writer or parquet.ParquetWriter(file, table.schema, compression="zstd")
        writer.write_table(table, row_group_size=group_rows)
    assert writer is not None, "a file needs rows"
    writer.close()


def outcomes() -> OutcomeMatrix:
    """Outcomes to fit on: of a candidate some tasks go well, others do not."""
    texts, rng = queries(FIT_ROWS, seed=-1 % 2**32), np.random.default_rng(0)
    task = np.arange(FIT_ROWS) % TASKS
    chance = rng.uniform(0.2, 0.9, (TASKS, len(CANDIDATES)))[task]
    reward = (rng.random(chance.shape) < chance).astype(float)
    tokens = rng.integers(20, 400, chance.shape).astype(float)
    frame = pl.DataFrame(
        {
            "query_id": [str(number) for number in range(FIT_ROWS)],
            "dataset": "bench",
            "task": [f"task-{number}" for number in task],
            "split": "train",
            "text": texts,
            "sampling_probability": 1.0,
        }
    )
    return OutcomeMatrix(
        frame, CANDIDATES, CANDIDATES, reward, tokens, tokens, tokens, tokens, tokens * 0
    )


def registered_router(lake: Lake, *, method: str) -> tuple[str, str]:
    """(version, checkpoint folder) of a router fitted and registered in a lake."""
    known = outcomes()
    return registered(load_method(method)().fit(known, seed=0), queries=known.queries, lake=lake)


def registered(router: Router, *, queries: pl.DataFrame, lake: Lake) -> tuple[str, str]:
    """(version, checkpoint folder) of a router, registered in a lake with a profile of queries."""
    folder = lake.storage.join("checkpoints", router.method)
    ratios = dict.fromkeys(router.candidates, 0.27)
    meta = CheckpointMeta(
        candidate_ids=router.candidates, data={"prompt_tokens_per_character": ratios}
    )
    # As training leaves it, so that drift is looked at as well.
    profile = Profiles(0).of(router, queries=queries)
    version = save_checkpoint(router, folder, meta=meta, beside=profile_files(profile))
    registry.register(
        lake,
        version=version,
        checkpoint=folder,
        method=router.method,
        dataset="bench",
        metrics={},
        why="benchmark",
    )
    return version, folder


def write_prices(file: Path) -> None:
    """A price for every candidate, the later the dearer."""
    lines = [
        f"{name}: {{input: {0.1 * 2**place}, output: {0.4 * 2**place}}}"
        for place, name in enumerate(CANDIDATES)
    ]
    file.write_text("\n".join(lines) + "\n")
