"""Who is to answer what: a sample of the routed rows, for the generate job."""

import hashlib
import io
from collections.abc import Sequence

import polars as pl

from cluster.jobs.run import Run
from cluster.query import normalise_texts, query_id
from cluster.routing.kernel import Routing
from cluster.routing.store import Store
from cluster.routing.summary import ShardSummary


def write_requests(
    summaries: Sequence[ShardSummary], *, routing: Routing, store: Store, run: Run
) -> str:
    """Write the rows to answer; drawn by the texts' hashes, so that order does not matter."""
    spec = routing.spec
    chosen = f"{spec.prefix}candidate"
    known = spec.pair_ids or routing.router.meta.candidate_ids
    ids = dict(zip(routing.candidates, known, strict=True))
    drawn: pl.DataFrame | None = None
    for summary in summaries:
        rows = store.read_rows(summary.key, columns=[spec.text_column, chosen])
        rows = _requests(rows.unique(spec.text_column), ids=ids, routing=routing)
        drawn = rows if drawn is None else pl.concat([drawn, rows])
        drawn = drawn.unique("query_id").sort("draw")
        drawn = drawn if spec.answer_rows < 0 else drawn.head(spec.answer_rows)
    assert drawn is not None, "a file without rows is refused"
    buffer = io.BytesIO()
    drawn.drop("draw").write_parquet(buffer)
    run.storage.write(run.uri("requests.parquet"), buffer.getvalue())
    return run.uri("requests.parquet")


def _requests(rows: pl.DataFrame, *, ids: dict[str, str], routing: Routing) -> pl.DataFrame:
    spec = routing.spec
    texts = normalise_texts(rows[spec.text_column])
    chosen = rows[f"{spec.prefix}candidate"]
    return pl.DataFrame(
        {
            "query_id": [query_id(text, task="") for text in texts],
            "text": texts,
            "messages": pl.Series([None] * rows.height, dtype=pl.String),
            "candidate_id": chosen.replace_strict(ids, return_dtype=pl.String),
            "original": rows[spec.text_column],
            "draw": [hashlib.sha256(f"answer\n{text}".encode()).hexdigest() for text in texts],
        }
    )
