"""What the lake holds: one entry a Delta table, with its columns, its key and its partition.

Facts are append-only and have deterministic keys: a key stands in its table once.
"""

from dataclasses import dataclass

import polars as pl

from cluster.completion import COMPLETION_SCHEMA

SCHEMA_VERSION = 2

Schema = dict[str, "pl.DataType"]


@dataclass(frozen=True)
class Table:
    """A Delta table of the lake.

    Attributes:
        name: its folder below the lake's root.
        key: columns that identify a row.
        schema: every column with its polars type.
        partition: the column whose values are folders, or None.
    """

    name: str
    key: tuple[str, ...]
    schema: Schema
    partition: str | None = None

    @property
    def columns(self) -> list[str]:
        return list(self.schema)

    @property
    def file_schema(self) -> Schema:
        """Columns inside a file: Delta keeps a partition's value in its log, not in its files."""
        return {name: kind for name, kind in self.schema.items() if name != self.partition}

    def conform(self, frame: pl.DataFrame | pl.LazyFrame) -> pl.LazyFrame:
        """The table's columns in its order and types; those the frame lacks are null."""
        rows = frame.lazy()
        there = set(rows.collect_schema().names())
        return rows.select(
            (pl.col(name) if name in there else pl.lit(None)).cast(kind).alias(name)
            for name, kind in self.schema.items()
        )


def _columns(**kinds: type[pl.DataType]) -> Schema:
    return {name: kind() for name, kind in kinds.items()}


QUERIES = Table(
    name="queries",
    key=("query_id",),
    schema=_columns(
        query_id=pl.String,
        dataset=pl.String,
        task=pl.String,
        text=pl.String,
        messages=pl.String,
        reference=pl.String,
        source=pl.String,
        split=pl.String,
        sampling_probability=pl.Float64,
    ),
)
# Queries that were picked to be labelled, with the probability they had among those left by then.
CHOICES = Table(
    name="choices",
    key=("query_id",),
    schema=_columns(
        query_id=pl.String,
        dataset=pl.String,
        sampling_probability=pl.Float64,
        run=pl.String,
    ),
)
CANDIDATES = Table(
    name="candidates",
    key=("candidate_id", "sequence"),
    schema=_columns(candidate_id=pl.String, sequence=pl.Int64, name=pl.String, spec=pl.String),
)
SCORERS = Table(
    name="scorers",
    key=("scorer_id",),
    schema=_columns(scorer_id=pl.String, name=pl.String, spec=pl.String),
)
TAGGERS = Table(
    name="taggers",
    key=("tagger_id",),
    schema=_columns(tagger_id=pl.String, name=pl.String, spec=pl.String),
)
COMPLETIONS = Table(
    name="completions",
    key=("query_id", "candidate_id", "sample"),
    partition="candidate_id",
    schema=dict(COMPLETION_SCHEMA),
)
REWARDS = Table(
    name="rewards",
    key=("query_id", "candidate_id", "sample", "scorer_id"),
    schema=_columns(
        query_id=pl.String,
        candidate_id=pl.String,
        sample=pl.Int32,
        scorer_id=pl.String,
        value=pl.Float64,
        weight=pl.Float64,
        raw=pl.Float64,
        reason=pl.String,
    ),
)
TAGS = Table(
    name="tags",
    key=("query_id", "tagger_id", "tag"),
    schema=_columns(query_id=pl.String, tagger_id=pl.String, tag=pl.String),
)
# What an open-vocabulary tagger wrote, before its vocabulary; a null tag has its reason.
RAW_TAGS = Table(
    name="raw_tags",
    key=("query_id", "writer_id", "place"),
    schema=_columns(
        query_id=pl.String,
        writer_id=pl.String,
        place=pl.Int32,
        raw_tag=pl.String,
        reason=pl.String,
        prompt_tokens=pl.Int32,
        completion_tokens=pl.Int32,
        cost_usd=pl.Float64,
    ),
)
# One version of a vocabulary has one tagger_id, under which its tags stand in `tags`.
VOCABULARIES = Table(
    name="vocabularies",
    key=("tagger_id", "raw_tag"),
    schema=_columns(
        tagger_id=pl.String,
        sequence=pl.Int64,
        raw_tag=pl.String,
        count=pl.Int64,
        form=pl.String,
        tag=pl.String,
        step=pl.String,
    ),
)
PREFERENCES = Table(
    name="preferences",
    key=("query_id", "candidate_a", "candidate_b", "judge"),
    schema=_columns(
        query_id=pl.String,
        candidate_a=pl.String,
        candidate_b=pl.String,
        judge=pl.String,
        outcome=pl.Float64,
    ),
)
# By text and not by query: texts repeat, and a vector depends on nothing else.
EMBEDDINGS = Table(
    name="embeddings",
    key=("text_id", "encoder_id"),
    partition="encoder_id",
    schema={
        "text_id": pl.String(),
        "encoder_id": pl.String(),
        "vector": pl.List(pl.Float32()),
    },
)
EVALUATIONS = Table(
    name="evaluations",
    key=("version", "dataset", "task", "split", "method", "metric"),
    schema=_columns(
        version=pl.String,
        dataset=pl.String,
        task=pl.String,
        split=pl.String,
        method=pl.String,
        metric=pl.String,
        value=pl.Float64,
        ci_low=pl.Float64,
        ci_high=pl.Float64,
        n=pl.Int64,
    ),
)
REGISTRY = Table(
    name="registry",
    key=("event_id",),
    schema=_columns(
        event_id=pl.String,
        sequence=pl.Int64,
        at=pl.String,
        event=pl.String,
        version=pl.String,
        checkpoint=pl.String,
        method=pl.String,
        dataset=pl.String,
        metrics=pl.String,
        parent=pl.String,
        who=pl.String,
        why=pl.String,
    ),
)
# Files of a watched folder whose queries have been taken, as they were then.
WATCHED = Table(
    name="watched",
    key=("uri", "stamp", "dataset"),
    schema=_columns(
        uri=pl.String,
        stamp=pl.String,
        dataset=pl.String,
        digest=pl.String,
        rows=pl.Int64,
        new_queries=pl.Int64,
        broken=pl.Int64,
        at=pl.String,
    ),
)
# Looks at a frozen test snapshot, and what came of them: the error rate that is spent.
LOOKS = Table(
    name="looks",
    key=("event_id",),
    schema=_columns(
        event_id=pl.String,
        sequence=pl.Int64,
        at=pl.String,
        event=pl.String,
        snapshot=pl.String,
        comparison=pl.String,
        look=pl.Int64,
        level=pl.Float64,
        version=pl.String,
        champion=pl.String,
        how=pl.String,
        why=pl.String,
        table=pl.String,
        who=pl.String,
    ),
)
# What was found about each batch of labels, and when one was released by hand.
ADMISSIONS = Table(
    name="admissions",
    key=("event_id",),
    schema=_columns(
        event_id=pl.String,
        sequence=pl.Int64,
        at=pl.String,
        event=pl.String,
        batch=pl.String,
        dataset=pl.String,
        scorer_id=pl.String,
        labels=pl.Int64,
        verdict=pl.String,
        found=pl.String,
        why=pl.String,
        who=pl.String,
    ),
)
# The rewards that a refused batch keeps out of the outcomes, until it is released.
KEPT_OUT = Table(
    name="kept_out",
    key=("batch", "query_id", "candidate_id", "scorer_id"),
    schema=_columns(
        batch=pl.String,
        query_id=pl.String,
        candidate_id=pl.String,
        scorer_id=pl.String,
    ),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        QUERIES,
        CHOICES,
        CANDIDATES,
        SCORERS,
        TAGGERS,
        COMPLETIONS,
        REWARDS,
        TAGS,
        RAW_TAGS,
        VOCABULARIES,
        PREFERENCES,
        EMBEDDINGS,
        EVALUATIONS,
        REGISTRY,
        WATCHED,
        LOOKS,
        ADMISSIONS,
        KEPT_OUT,
    )
}
