"""What is done with one shard, by whichever process has it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl

from cluster.answers.kept import keep_for_answers
from cluster.files.batch import Batch, broken_frame
from cluster.files.parquet import read_frames
from cluster.files.source import SeenFile
from cluster.policies.policy import text_numbers
from cluster.routing.admission import admit
from cluster.routing.columns import routed_rows
from cluster.routing.kernel import Routing
from cluster.routing.observed import coming_back, observed, seen_drift
from cluster.routing.score import Scores, choose, score
from cluster.routing.shard import Shard, Stretch
from cluster.routing.store import Store
from cluster.routing.summary import ShardSummary, counted
from cluster.routing.texts import as_in_file, characters_of, queries_of, rows_with_query


def route_shard(
    batch: Batch, *, key: str, routing: Routing, store: Store, since: float
) -> ShardSummary:
    """Score a shard's rows, choose, and keep the routed rows.

    `since`: `time.process_time()` when the work on the shard began.
    """
    batch, scores = _scored(batch, routing=routing)
    rows = batch.frame
    counts = _keep_routed(rows, scores=scores, key=key, routing=routing, store=store)
    if batch.broken.height:
        store.write_broken(batch.broken, key=key)
    seconds = time.process_time() - since
    summary = _told(batch, scores=scores, key=key).model_copy(update=counts | {"seconds": seconds})
    store.finish("parts", summary=summary)
    return summary


def score_shard(
    batch: Batch, *, key: str, routing: Routing, store: Store, since: float
) -> ShardSummary:
    """Score a shard's rows, and keep rows and scores until the policy has seen the file."""
    batch, scores = _scored(batch, routing=routing)
    rows = batch.frame
    texts = queries_of(rows, spec=routing.spec)
    store.write_scores(scores, numbers=text_numbers(texts), key=key)
    store.write_rows(rows, key=key, stage="scored")
    if batch.broken.height:
        store.write_broken(batch.broken, key=key)
    seen = seen_drift(texts, key=key, routing=routing)
    seconds = time.process_time() - since
    told = _told(batch, scores=scores, key=key)
    summary = told.model_copy(update=seen | {"seconds": seconds})
    store.finish("scored", summary=summary)
    return summary


def _scored(batch: Batch, *, routing: Routing) -> tuple[Batch, Scores]:
    """The rows that have a query and somebody who may answer it, and what is expected of them."""
    batch = rows_with_query(batch, spec=routing.spec)
    texts = queries_of(batch.frame, spec=routing.spec)
    scores = score(texts, routing=routing, characters=characters_of(batch.frame))
    return admit(batch, scores=scores, routing=routing)


def choose_shard(scored: ShardSummary, *, routing: Routing, store: Store) -> ShardSummary:
    """Choose for the rows of a shard that was scored before, with a policy that has settled."""
    since = time.process_time()
    rows = store.read_rows(scored.key, stage="scored")
    scores = store.read_scores(scored.key)
    counts = _keep_routed(rows, scores=scores, key=scored.key, routing=routing, store=store)
    seconds = scored.seconds + time.process_time() - since
    summary = scored.model_copy(update=counts | {"seconds": seconds})
    store.finish("parts", summary=summary)
    return summary


def _keep_routed(
    rows: pl.DataFrame, *, scores: Scores, key: str, routing: Routing, store: Store
) -> dict[str, object]:
    """Choose, and write the routed rows; returns what is told of them."""
    texts = queries_of(rows, spec=routing.spec)
    chosen = choose(texts, scores=scores, routing=routing)
    routed = routed_rows(as_in_file(rows), scores=scores, chosen=chosen, routing=routing)
    store.write_rows(routed, key=key, stage="parts")
    columns = chosen.columns
    keep_for_answers(rows, scores=scores, chosen=columns, key=key, routing=routing, store=store)
    told = counted(scores, chosen=columns)
    told |= observed(rows, texts=texts, scores=scores, chosen=columns, key=key, routing=routing)
    if routing.spec.feedback:
        drawn = coming_back(rows, scores=scores, chosen=columns, routing=routing)
        store.write_feedback(drawn, key=key)
        told["feedback"] = drawn.height
    return told


def _told(batch: Batch, *, scores: Scores, key: str) -> ShardSummary:
    return ShardSummary(
        key=key,
        rows=batch.frame.height,
        broken=batch.broken.height,
        json_columns=batch.json_columns,
        fallbacks=scores.fallbacks,
        rule_rows=scores.rule_rows,
        explored=0 if scores.explored is None else int((scores.explored >= 0).sum()),
    )


@dataclass
class StretchReader:
    """Reads shards of Parquet files; those that follow each other in one pass.

    Attributes:
        files: by their number.
    """

    files: list[SeenFile]
    stretch: Stretch | None = None
    frames: Iterator[pl.DataFrame] = field(default_factory=lambda: iter(()))
    rest: pl.DataFrame = field(default_factory=pl.DataFrame)
    next_row: int = 0

    def read(self, shard: Shard) -> Batch:
        """A shard's rows.

        Raises:
            InputError: the file is damaged, was changed, or holds text that is not UTF-8.
        """
        assert shard.stretch is not None, "these rows are handed over, not read"
        if shard.stretch != self.stretch or self.next_row > shard.first_row:
            self._open(shard.stretch, rows=shard.rows)
        self._skip(shard.first_row - self.next_row)
        frame = self._take(shard.rows)
        source = self.files[shard.file].source
        return Batch(source.uri, frame, broken_frame(source.uri, rows=[]), shard.first_row)

    def _open(self, stretch: Stretch, *, rows: int) -> None:
        source = self.files[stretch.file].unchanged()
        self.stretch, self.next_row, self.rest = stretch, stretch.first_row, pl.DataFrame()
        self.frames = read_frames(
            source,
            rows_per_batch=rows,
            groups=stretch.groups,
            first_row=stretch.first_row,
        )

    def _skip(self, rows: int) -> None:
        """Pass over the next rows; of a large row group none is held but what is read just now."""
        self.next_row += rows
        while self.rest.height < rows:
            rows -= self.rest.height
            self.rest = next(self.frames)
        self.rest = self.rest[rows:]

    def _take(self, rows: int) -> pl.DataFrame:
        """The next rows of the stretch."""
        held = [self.rest] if self.rest.height else []
        height = self.rest.height
        while height < rows:
            held.append(next(self.frames))
            height += held[-1].height
        whole = pl.concat(held) if held else self.rest
        self.rest = whole[rows:]
        self.next_row += rows
        return whole[:rows]
