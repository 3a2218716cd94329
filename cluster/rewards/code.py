"""Programs, run against tests."""

import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import ClassVar

import polars as pl
from pydantic import Field

from cluster.candidate import Resources
from cluster.errors import InputError
from cluster.rewards.bounded import processors
from cluster.rewards.code_task import read_task
from cluster.rewards.fence import last_fence
from cluster.rewards.sandbox.box import Box
from cluster.rewards.sandbox.isolation import Isolation
from cluster.rewards.sandbox.limits import Limits
from cluster.rewards.sandbox.verdict import Verdict, examine
from cluster.rewards.scorer import RATING_SCHEMA, Rated, Rater, Scorer

PYTHON = frozenset({"python", "python3", "py"})

Row = tuple[float | None, float | None, str | None]


class Code(Scorer):
    """1 where the answer's program passes the reference's tests, else 0 with the first failure.

    The program is the last fenced block of Python, or the whole answer; the forms a reference may
    have are told by `cluster.rewards.code_task`. `raw` is the share of tests that pass. Null where
    the reference holds no tests.

    Programs are untrusted: each runs in a sandbox of its own (`cluster.rewards.sandbox`), apart
    from the tests, with Python's standard library alone.

    Attributes:
        partial: the reward is the share of tests that pass.
        seconds: wall clock, of all tests together; with `inputs`, of each.
        memory_mb: memory of a program and all its processes.
        disk_mb: files it may write.
        processes: processes and threads at a time.
        output_kb: what it may print.
        isolation: what keeps it from the machine; where the machine does not offer that, nothing
            runs. See `cluster.rewards.sandbox.isolation`.
        resources: what one actor needs, how many there are; changes no value. An actor runs as
            many programs at a time as it has CPUs.
    """

    name: ClassVar[str] = "code"
    needs_actor: ClassVar[bool] = True
    unhashed: ClassVar[frozenset[str]] = frozenset({"resources"})

    partial: bool = Field(default=False, description="the reward is the share of tests that pass")
    seconds: float = Field(default=10.0, gt=0, le=3600, description="time for the tests")
    memory_mb: int = Field(default=512, ge=64, description="memory of a program")
    disk_mb: int = Field(default=32, ge=1, description="files a program may write")
    processes: int = Field(default=16, ge=1, le=1024, description="processes and threads")
    output_kb: int = Field(default=1024, ge=1, le=65_536, description="what it may print")
    isolation: Isolation = Field(default="namespaces", description="'limits' is weaker")
    resources: Resources = Resources()

    @property
    def placement(self) -> Resources:
        """What one of its actors needs, and how many there may be."""
        return self.resources

    @property
    def limits(self) -> Limits:
        """Limits of one run."""
        return Limits(
            seconds=self.seconds,
            memory_mb=self.memory_mb,
            disk_mb=self.disk_mb,
            processes=self.processes,
            output_kb=self.output_kb,
        )

    @property
    def needs_reference(self) -> bool:
        """See `Scorer.needs_reference`."""
        return True

    def score(self, answers: pl.DataFrame) -> pl.Series:
        """Rewards, (n_answers,); see `Scorer.score`."""
        return self.rate(answers).ratings["value"]

    def rate(self, answers: pl.DataFrame) -> Rated:
        """The same with shares and reasons; for many tables `open` it once. See `Scorer.rate`.

        Raises:
            EngineError: the machine does not offer the isolation.
        """
        with self.open() as rate:
            return rate(answers)

    @contextmanager
    def open(self) -> Iterator[Rater]:
        """Sandboxes for as long as it is open."""
        with ExitStack() as stack:
            boxes: queue.SimpleQueue[Box] = queue.SimpleQueue()
            for _ in range(processors(self.resources)):
                boxes.put(stack.enter_context(Box(self.isolation)))
            yield partial(self._rate, boxes=boxes)

    def _rate(self, answers: pl.DataFrame, *, boxes: "queue.SimpleQueue[Box]") -> Rated:
        texts = answers.select(pl.col("text", "reference").cast(pl.String)).rows()
        distinct = list(dict.fromkeys(texts))
        with ThreadPoolExecutor(boxes.qsize()) as threads:
            rated = threads.map(lambda pair: self._row(*pair, boxes=boxes), distinct)
            rows = dict(zip(distinct, rated, strict=True))
        table = [rows[pair] for pair in texts]
        return Rated(pl.DataFrame(table, schema=RATING_SCHEMA, orient="row"))

    def _row(
        self, text: str | None, reference: str | None, *, boxes: "queue.SimpleQueue[Box]"
    ) -> Row:
        """Value, raw and reason of one answer."""
        if text is None or reference is None or not reference.strip():
            return None, None, None
        try:
            task = read_task(reference)
        except InputError as error:
            return None, None, f"the reference: {error}"
        fence = last_fence(text, languages=PYTHON)
        box = boxes.get()
        try:
            program = text if fence is None else fence
            verdict = examine(program, task=task, box=box, limits=self.limits)
        finally:
            boxes.put(box)
        return self._reward(verdict)

    def _reward(self, verdict: Verdict) -> Row:
        if verdict.total == 0:
            return None, None, f"the reference: {verdict.reason}"
        share = verdict.passed / verdict.total
        counts = f"{verdict.passed} of {verdict.total} tests passed; "
        reason = f"{counts if verdict.total > 1 else ''}{verdict.reason}"
        return share if self.partial else float(share == 1), share, reason if share < 1 else None
