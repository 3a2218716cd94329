"""Who is to be asked what: the distinct queries of routed rows, or a sample of them."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from cluster.answers.asks import ASK
from cluster.answers.blocks import block
from cluster.answers.expected import Expected
from cluster.answers.folder import FOLDER, AnswerFolder, write_frame
from cluster.files.repeated import Seen
from cluster.jobs.run import Manifest, Run
from cluster.routing.kernel import Routing
from cluster.routing.store import Store
from cluster.routing.summary import ShardSummary

# About 100 MB of texts of 1,000 characters: what a generate job has in memory at a time.
REQUEST_ROWS = 100_000


def to_answer(
    summaries: Sequence[ShardSummary], *, routing: Routing, store: Store, run: Run
) -> Manifest | None:
    """Keep what is to be answered, if anything is; says where, and what it is expected to cost."""
    if not routing.spec.answer_rows:
        return None
    folder = AnswerFolder(run.uri(FOLDER))
    expected = write_requests(summaries, routing=routing, store=store, folder=folder)
    return {
        "folder": folder.uri,
        "candidates": routing.candidates,
        "candidate_ids": candidate_ids(routing),
        "ratios": prompt_ratios(routing),
        "expected": [{"candidate": name, **one.told()} for name, one in expected.items()],
    }


def write_requests(
    summaries: Sequence[ShardSummary], *, routing: Routing, store: Store, folder: AnswerFolder
) -> dict[str, Expected]:
    """Keep the rows to answer and their distinct requests; returns, by candidate's name, what
    their answers are expected to come to.

    Equal queries that go to the same candidate are asked once. A sample is drawn by the queries'
    hashes, so that neither order nor repetition matters.
    """
    folder.clear()
    drawn = _drawn(summaries, size=routing.spec.answer_rows, store=store)
    ids = dict(zip(routing.candidates, candidate_ids(routing), strict=True))
    parts, seen, told = Parts(folder.asked), Seen(), Once()
    expected = {name: Expected() for name in routing.candidates}
    ratios = prompt_ratios(routing)
    for summary in summaries:
        asks = store.read_beside(summary.key, what="asks")
        if drawn is None:
            folder.keep_rows(summary.key, source=store.part(summary.key))
        else:
            wanted = asks["query_id"].is_in(drawn.implode())
            folder.write_rows(summary.key, store.read_rows(summary.key).filter(wanted))
            asks = asks.filter(wanted)
        folder.write_asks(summary.key, asks[ASK], json_columns=summary.json_columns)
        new = asks.filter(seen.first(asks[ASK]))
        for column, name in enumerate(routing.candidates):
            own = told.once(_reaching(new, column=column), who=name)
            expected[name] += Expected.of(own, column=column, ratio=ratios.get(name))
        parts.add(addressed(new, ids=list(ids.values())))
    parts.finish()
    return expected


def candidate_ids(routing: Routing) -> Sequence[str]:
    """The ids of a router's candidates, in their order."""
    return routing.spec.pair_ids or routing.router.meta.candidate_ids


def addressed(asks: pl.DataFrame, *, ids: Sequence[str]) -> pl.DataFrame:
    """Requests with the id of whom `column` says is asked, and what that is expected to cost."""
    cost = block(asks, "cost")
    columns = asks["column"].to_numpy()
    spent = np.zeros(0) if cost is None else cost[np.arange(len(columns)), columns]
    return asks.with_columns(
        candidate_id=pl.Series(ids, dtype=pl.String).gather(columns),
        predicted_usd=pl.Series(spent, dtype=pl.Float64).fill_nan(None),
    )


@dataclass
class Once:
    """Requests for one answer, however many rows under other rules ask for it."""

    seen: dict[str, Seen] = field(default_factory=dict)

    def once(self, asks: pl.DataFrame, *, who: str) -> pl.DataFrame:
        """Those of a candidate's requests whose query has not come before."""
        return asks.filter(self.seen.setdefault(who, Seen()).first(asks["query_id"]))


@dataclass
class Parts:
    """Requests on their way into files of `REQUEST_ROWS` each."""

    uri: str
    waiting: list[pl.DataFrame] = field(default_factory=list)
    written: int = 0

    def add(self, requests: pl.DataFrame) -> None:
        """More of them."""
        self.waiting.append(requests)
        while sum(frame.height for frame in self.waiting) >= REQUEST_ROWS:
            whole = pl.concat(self.waiting)
            self._write(whole[:REQUEST_ROWS])
            self.waiting = [whole[REQUEST_ROWS:]]

    def finish(self) -> None:
        """Write the rest; without any request there is one empty file."""
        rest = pl.concat(self.waiting) if self.waiting else None
        if rest is not None and (rest.height or not self.written):
            self._write(rest)

    def _write(self, frame: pl.DataFrame) -> None:
        write_frame(frame, f"{self.uri}/{self.written:05d}.parquet")
        self.written += 1


def _drawn(summaries: Sequence[ShardSummary], *, size: int, store: Store) -> pl.Series | None:
    """The ids of so many distinct queries; None for all."""
    if size < 0:
        return None
    drawn = pl.DataFrame(schema={"query_id": pl.String, "draw": pl.String})
    for ids in _ids(summaries, store=store):
        draws = [hashlib.sha256(f"answer\n{one}".encode()).hexdigest() for one in ids]
        both = pl.concat([drawn, pl.DataFrame({"query_id": ids, "draw": draws})])
        drawn = both.unique("query_id").sort("draw").head(size)
    return drawn["query_id"]


def _ids(summaries: Sequence[ShardSummary], *, store: Store) -> Iterator[pl.Series]:
    for summary in summaries:
        yield store.read_beside(summary.key, what="asks")["query_id"].unique()


def _reaching(asks: pl.DataFrame, *, column: int) -> pl.DataFrame:
    """Those of the requests that are expected to reach a candidate."""
    return asks.filter(pl.col(f"asked:{column}")) if asks.height else asks


def prompt_ratios(routing: Routing) -> Mapping[str, float]:
    """Tokens of a prompt a character, by candidate's name, where known."""
    found: Mapping[str, float] = routing.router.meta.data.get("prompt_tokens_per_character", {})
    return {name: ratio for name, ratio in found.items() if ratio is not None}
