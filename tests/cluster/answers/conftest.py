"""A small router, a query file, and a lake in which candidates answer at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cluster.answers.folder import frames_in, read_frame
from cluster.jobs.answer import AnswerSpec, answer
from cluster.jobs.escalate import EscalateSpec, escalate
from cluster.jobs.ingest import pin_files
from cluster.jobs.route import route
from cluster.jobs.run import SCRATCH, Run
from cluster.lake.commit import append_new
from cluster.lake.lake import Lake
from cluster.lake.tables import COMPLETIONS
from cluster.outcome import OutcomeMatrix
from cluster.price import Price
from cluster.routers.checkpoint import CheckpointMeta, save_checkpoint
from cluster.routers.knn import Knn
from cluster.routers.router import Router
from cluster.routing.spec import RouteSpec

NAMES = ("cheap", "strong")
IDS = ("id-1", "id-2")
PRICES = {"cheap": Price(input=1, output=2), "strong": Price(input=10, output=20)}
RATIOS = {"prompt_tokens_per_character": {"cheap": 0.5, "strong": 0.5}}

Reply = Callable[[str, str], dict]


def outcomes(**fields) -> OutcomeMatrix:
    """`cheap` can add, `strong` can write poems."""
    texts = [f"add {n} and {n + 1}" for n in range(40)] + [
        f"a poem on {n} trees" for n in range(40)
    ]
    reward = np.array([[1.0, 0.0]] * 40 + [[0.0, 1.0]] * 40)
    queries = pl.DataFrame({"query_id": texts, "task": "t", "split": "train", "text": texts})
    queries = queries.with_columns(dataset=pl.lit("d"), sampling_probability=pl.lit(1.0))
    tokens = np.full(reward.shape, 10.0)
    return OutcomeMatrix(
        queries, NAMES, IDS, reward, tokens, tokens, tokens, tokens, tokens * 0, **fields
    )


def saved(router: Router, folder: Path) -> tuple[str, str]:
    ids = dict(zip(NAMES, IDS, strict=True))
    known = tuple(ids[name] for name in router.candidates)
    return save_checkpoint(
        router, str(folder), meta=CheckpointMeta(candidate_ids=known, data=RATIOS)
    ), str(folder)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(version, folder) of a router that sends sums to `cheap` and poems to `strong`."""
    router = Knn(k=5).fit(outcomes(), seed=0)
    return saved(router, tmp_path_factory.mktemp("answers") / "router")


def answered(query_id: str, candidate_id: str, **fields) -> dict:
    """A row of completions."""
    said = {"text": f"{candidate_id}!", "outcome": "ok", "finish_reason": "stop"}
    tokens = {"prompt_tokens": 100, "completion_tokens": 10, "seconds": 0.1}
    key = {"query_id": query_id, "candidate_id": candidate_id, "sample": 0}
    return key | said | tokens | fields


def failed(query_id: str, candidate_id: str) -> dict:
    """One that failed before a token was read."""
    nothing = dict.fromkeys(("text", "finish_reason", "prompt_tokens", "completion_tokens"))
    return answered(query_id, candidate_id, outcome="error", error="no luck", **nothing)


@dataclass
class Desk:
    """Runs the jobs that surround answers by hand.

    Attributes:
        folder: of the input, the output and the lake.
        checkpoint: version and folder of the router.
        root: of the lake; by default in the folder.
    """

    folder: Path
    checkpoint: tuple[str, str]
    root: str = ""

    @property
    def lake(self) -> Lake:
        return Lake.open(self.root or self.folder / "lake")

    def spec(self, rows: pl.DataFrame | str, **changes) -> RouteSpec:
        """To route a frame's rows, or lines of JSON."""
        if isinstance(rows, str):
            (self.folder / "in.jsonl").write_text(rows)
        else:
            rows.write_parquet(self.folder / "in.parquet")
        settings = {
            "lake": self.lake.storage.uri,
            "files": pin_files(str(self.folder / "in.*")),
            "output": str(self.folder / "out.parquet"),
            "text_column": "text",
            "router": self.checkpoint[0],
            "checkpoint": self.checkpoint[1],
            "policy": "best",
            "policy_settings": {},
            "prices": PRICES,
            "max_error_share": 0.05,
            "answer_rows": -1,
        }
        return RouteSpec(**(settings | changes))

    def route(self, spec: RouteSpec) -> dict:
        manifest = route(spec, Run.of(spec))
        Run.of(spec).storage.delete_below(Run.of(spec).uri(SCRATCH))
        return manifest

    def asked(self, folder: str) -> pl.DataFrame:
        """The requests in a folder."""
        return pl.concat([read_frame(uri) for uri in frames_in(folder)])

    def answer(self, requests: pl.DataFrame, *, reply: Reply = answered) -> None:
        """Let everybody who is asked answer."""
        rows = [reply(*row) for row in requests.select("query_id", "candidate_id").iter_rows()]
        frame = pl.DataFrame(rows, schema=dict(COMPLETIONS.schema))
        append_new(frame, lake=self.lake, table=COMPLETIONS)

    def join(self, spec: RouteSpec, manifest: dict, *rounds: str, **changes) -> dict:
        """Run the answer job."""
        kept = manifest["to_answer"]
        settings = {
            "lake": spec.lake,
            "work": spec.work_id,
            "folder": kept["folder"],
            "rounds": (f"{kept['folder']}/asked", *rounds),
            "output": str(self.folder / "out.answers.parquet"),
            "candidates": kept["candidates"],
            "candidate_ids": kept["candidate_ids"],
            "ratios": kept["ratios"],
            "prices": PRICES,
            "inputs": self.lake.versions([COMPLETIONS]),
        }
        job = AnswerSpec(**(settings | changes))
        found = answer(job, Run.of(job))
        Run.of(job).write_manifest(found)
        return found

    def escalate(self, requests: str, manifest: dict, **changes) -> dict:
        """Run the escalate job."""
        kept = manifest["to_answer"]
        settings = {
            "lake": self.lake.storage.uri,
            "requests": requests,
            "policy": "cascade",
            "candidates": kept["candidates"],
            "candidate_ids": kept["candidate_ids"],
            "inputs": self.lake.versions([COMPLETIONS]),
        }
        job = EscalateSpec(**(settings | changes))
        return escalate(job, Run.of(job))


@pytest.fixture
def desk(tmp_path: Path, checkpoint: tuple[str, str]) -> Iterator[Desk]:
    """A desk of the test's own."""
    return Desk(tmp_path, checkpoint)
