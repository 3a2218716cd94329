"""The answer job: the candidates' answers joined back to the rows that asked, in their order."""

from collections.abc import Iterator
from typing import Any, ClassVar

import polars as pl

from cluster.answers.account import Accounts
from cluster.answers.expected import plus
from cluster.answers.folder import AnswerFolder
from cluster.answers.joined import Answered, batched, final, with_answers
from cluster.answers.requests import Once
from cluster.errors import InputError
from cluster.files.writer import Rows, write_file
from cluster.jobs.claim import claim, owner
from cluster.jobs.run import Manifest, Part, Run, main
from cluster.jobs.spec import JobSpec
from cluster.lake.lake import Lake
from cluster.price import Price
from cluster.routing.output import refuse_what_is_there
from cluster.storage import Storage


class AnswerSpec(JobSpec):
    """What to join.

    Attributes:
        work: the routing whose rows asked.
        folder: where it has kept them (`AnswerFolder`).
        rounds: folders of the requests that were made, in the order of the rounds.
        output: file for the answers.
        prefix: put before the names of the columns that are added.
        candidates: names, the order of the router's columns.
        candidate_ids: the same by id.
        ratios: prompt tokens a character by name, where known.
        prices: by name.
        inputs: versions of the tables read.
        overwrite: replace what is at the output already.
    """

    job: ClassVar[str] = "answer"

    work: str
    folder: str
    rounds: tuple[str, ...]
    output: str
    prefix: str = ""
    candidates: tuple[str, ...]
    candidate_ids: tuple[str, ...]
    ratios: dict[str, float]
    prices: dict[str, Price]
    inputs: dict[str, int]
    overwrite: bool = False


def answer(spec: AnswerSpec, run: Run) -> Manifest:
    """Write every row that asked with the answer to it; returns what they came to.

    Raises:
        InputError: something else is at the output, or it cannot be written.
    """
    if not spec.overwrite:
        refuse_answers_that_are_there(spec.output, work=spec.work, lake=run.storage)
    accounts = Accounts(spec.candidates, spec.ratios)
    # The routing that kept the rows: answered anew, they may replace their own answers.
    claim(spec.output, work=spec.work, run=run)
    counts = {"rows": 0, "answers": 0, "errors": 0}
    parts = _parts(spec, accounts=accounts, counts=counts, run=run)
    try:
        write_file(parts, spec.output)
    except OSError as error:
        raise InputError(
            f"{spec.output}: cannot be written ({error}); name another --output"
        ) from error
    told = accounts.told()
    cost: float | None = 0.0
    for one in told:
        cost = plus(cost, one["usd"])
    return {
        "outputs": [spec.output],
        **counts,
        "cost_usd": cost,
        "tokens": sum(one["completion_tokens"] for one in told),
        "candidates": told,
    }


def _parts(
    spec: AnswerSpec, *, accounts: Accounts, counts: dict[str, int], run: Run
) -> Iterator[Rows]:
    """The rows with their answers, shard by shard; counts on the way."""
    names = dict(zip(spec.candidate_ids, spec.candidates, strict=True))
    answered = Answered(
        Lake.open(spec.lake), spec.inputs["completions"], spec.rounds, names, spec.prices
    )
    once = Once()
    for shards in batched(AnswerFolder(spec.folder).shards()):
        calls = answered.calls(pl.concat([one.asks for one in shards]))
        for name in spec.candidates:
            accounts.add(once.once(calls.filter(pl.col("name") == name), who=name))
        last = final(calls)
        for one in shards:
            frame = with_answers(one.rows, asks=one.asks, last=last, prefix=spec.prefix)
            _count(frame[f"{spec.prefix}outcome"], counts=counts)
            run.progress(Part("answers", done=counts["rows"], total=0))
            yield Rows(frame, one.json_columns)


def _count(outcomes: pl.Series, *, counts: dict[str, Any]) -> None:
    errors = int((outcomes == "error").sum())
    counts["rows"] += len(outcomes)
    counts["errors"] += errors
    counts["answers"] += outcomes.count() - errors


def refuse_answers_that_are_there(output: str, *, work: str, lake: Storage) -> None:
    """Make sure answers replace nothing but answers to the rows of the same routing.

    Args:
        output: where they go.
        work: the routing.
        lake: where it is known who wrote what.

    Raises:
        InputError: something else is there.
    """
    if owner(output, lake=lake) != work:
        refuse_what_is_there(output)


if __name__ == "__main__":
    main(AnswerSpec, work=answer)
