"""The ingest job: query files become rows of `queries`, each query once."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ClassVar

import polars as pl
from pydantic import BaseModel, ConfigDict

from cluster.errors import InputError
from cluster.files.batch import ROW, Batch, rows_with_text, set_aside
from cluster.files.quarantine import Quarantine
from cluster.files.reader import read_batches, read_schema
from cluster.files.schema import FileSchema, require_column
from cluster.files.source import SourceFile, find_files
from cluster.jobs.run import Manifest, Part, Run, main
from cluster.jobs.spec import JobSpec
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import QUERIES
from cluster.messages import chat_trouble
from cluster.query import normalise_texts, with_identity

LOG = logging.getLogger("signalbox.ingest")


class PinnedFile(BaseModel):
    """A file as it was when the spec was made.

    Attributes:
        uri: where it lies.
        digest: sha256 of its content; another content is other work.
    """

    model_config = ConfigDict(frozen=True)

    uri: str
    digest: str


class IngestSpec(JobSpec):
    """What to ingest.

    Attributes:
        files: the query files.
        dataset: name the queries are kept under.
        text_column: column that holds the query.
        task_column: column that names the task; where it is missing the task is empty.
        reference_column: column with the right answer, for scorers that compare.
        messages_column: column with a chat: a list of messages, each with a text `role` and a text
            `content`, as such or as JSON text; null or blank for none.
        max_error_share: more broken rows than this share fail the job.
    """

    job: ClassVar[str] = "ingest"

    files: tuple[PinnedFile, ...]
    dataset: str
    text_column: str
    task_column: str
    reference_column: str
    messages_column: str
    max_error_share: float


def pin_files(pattern: str) -> tuple[PinnedFile, ...]:
    """The files behind a pattern, with what is in them now.

    Raises:
        InputError: nothing is there, or a file cannot be read.
    """
    return tuple(
        PinnedFile(uri=source.uri, digest=source.digest()) for source in find_files(pattern)
    )


def open_pinned(file: PinnedFile) -> SourceFile:
    """The file, if it still is what it was.

    Raises:
        InputError: it is gone or was changed since the flow began.
    """
    source = find_files(file.uri)[0]
    if source.digest() != file.digest:
        raise InputError(f"{file.uri}: was changed while it was being read; run again")
    return source


def ingest(spec: IngestSpec, run: Run) -> Manifest:
    """Append the queries that are new; broken rows go to the run's quarantine file.

    Raises:
        InputError: a file is not readable, a column is missing, or too many rows are broken; then
            nothing of these files is kept.
    """
    lake = Lake.open(spec.lake)
    quarantine_uri = run.uri("quarantine.jsonl")
    with Quarantine(quarantine_uri, max_error_share=spec.max_error_share) as quarantine:
        frames = list(read_queries(spec, quarantine=quarantine, progress=run.progress))
        quarantine.finish()
    rows = pl.concat(frames)
    _tell_repeated(rows)
    queries = rows.unique("query_id", keep="first", maintain_order=True).drop(ROW, "file")
    new = append_new(queries, lake=lake, table=QUERIES)
    if new < queries.height:
        _tell_known(queries, lake=lake)
    return {
        "outputs": [],
        "rows": quarantine.rows,
        "new_queries": new,
        "already_there": queries.height - new,
        "repeated": rows.height - queries.height,
        "broken": quarantine.broken,
        "quarantine": quarantine_uri if quarantine.broken else None,
        "dataset": spec.dataset,
    }


def read_queries(
    spec: IngestSpec, *, quarantine: Quarantine, progress: Callable[[Part], None]
) -> Iterator[pl.DataFrame]:
    """Rows of `queries`, batch by batch, with each row's place in its file; broken ones go to the
    quarantine.

    Raises:
        InputError: a file is not readable or was changed, or a column is missing.
    """
    for number, file in enumerate(spec.files):
        source = open_pinned(file)
        schema = read_schema(source)
        require_column(schema, column=spec.text_column, flag="--text-column")
        optional = _optional_columns(spec, schema=schema)
        texts = [spec.text_column, *optional]
        for batch in read_batches(
            source, schema=schema, columns_as_text=optional, strict_text=[spec.text_column]
        ):
            kept = rows_with_text(batch, text_column=spec.text_column)
            if spec.messages_column in optional:
                kept = _rows_with_chat(kept, column=spec.messages_column)
            quarantine.add(kept)
            yield _queries(kept, spec=spec, columns=texts)
        progress(Part("files", done=number + 1, total=len(spec.files), unit="files"))


def _rows_with_chat(batch: Batch, *, column: str) -> Batch:
    """The batch with blank chats made null and rows with an unfit one moved to the broken ones."""
    chat = pl.col(column)
    frame = batch.frame.with_columns(pl.when(chat.str.strip_chars() != "").then(chat))
    reason = pl.format(
        f"field '{column}' is not a chat ({{}}), expected null or a JSON list of messages, "
        "objects with a text 'role' and a text 'content'",
        pl.lit(chat_trouble(frame[column])),
    )
    return set_aside(replace(batch, frame=frame), reasons=frame.select(reason).to_series())


def _optional_columns(spec: IngestSpec, *, schema: FileSchema) -> list[str]:
    named = (spec.task_column, spec.reference_column, spec.messages_column, "source")
    return [name for name in named if name in schema.dtypes]


def _queries(batch: Batch, *, spec: IngestSpec, columns: list[str]) -> pl.DataFrame:
    """Rows of `queries`, with the row's place in its file."""

    def column(name: str, *, default: str | None = None) -> pl.Expr:
        there = pl.col(name) if name in columns else pl.lit(None, dtype=pl.String)
        return there.fill_null(default) if default is not None else there

    rows = batch.frame.select(
        ROW,
        file=pl.lit(batch.file),
        dataset=pl.lit(spec.dataset),
        task=column(spec.task_column, default="").str.strip_chars(),
        text=normalise_texts(batch.frame[spec.text_column]),
        messages=column(spec.messages_column),
        reference=column(spec.reference_column),
        source=column("source", default=batch.file),
        sampling_probability=pl.lit(1.0),
    )
    return with_identity(rows)


def _tell_repeated(queries: pl.DataFrame) -> None:
    repeated = queries.filter(~pl.col("query_id").is_first_distinct())
    if repeated.height:
        file, row = repeated["file"][0], repeated[ROW][0]
        LOG.warning(
            "%d rows repeat the query and task of an earlier row and are kept once; the first: "
            "%s row %d",
            repeated.height,
            file,
            row,
        )


def _tell_known(queries: pl.DataFrame, *, lake: Lake) -> None:
    """Warn of queries that were in the lake before and do not become what these files say."""
    dataset = queries["dataset"][0]
    known = (
        lake.scan(QUERIES)
        .select("query_id", kept="dataset", kept_reference="reference")
        .join(queries.lazy().select("query_id", "reference"), on="query_id")
        .collect()
    )
    elsewhere = known.filter(pl.col("kept") != dataset).group_by("kept").len().sort("kept")
    for name, count in elsewhere.iter_rows():
        LOG.warning(
            "%d queries are in the lake already under dataset '%s' and do not become part of '%s'; "
            "a query belongs to the dataset it came in with first",
            count,
            name,
            dataset,
        )
    changed = known.filter(pl.col("reference").ne_missing(pl.col("kept_reference"))).height
    if changed:
        LOG.warning(
            "%d queries are in the lake already with another reference, which stays; to score "
            "against the new one, collect them into a new lake or under another task",
            changed,
        )


if __name__ == "__main__":
    main(IngestSpec, work=ingest)
