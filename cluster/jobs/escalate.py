"""The escalate job: a round of a cascade has answered; who will do, and who is asked next."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import polars as pl

from cluster.answers.asks import ASK
from cluster.answers.blocks import as_columns, required_block
from cluster.answers.folder import frames_in, read_frame, write_frame
from cluster.answers.joined import Answered
from cluster.answers.round import Judge, Judged, escalated, judged, read_after, verified
from cluster.errors import InputError
from cluster.jobs.label_worker import work_in_actors
from cluster.jobs.run import Manifest, Part, Run, main
from cluster.jobs.spec import JobSpec
from cluster.labels import Label
from cluster.lake.lake import Lake
from cluster.policies.cascade import Cascade
from cluster.policies.load import load_policy
from cluster.ray_cluster import connect
from cluster.rewards.scorer import Rated, Scorer, Usage
from cluster.routers.checkpoint import load_checkpoint

# With a model a part takes a while; a scorer is handed so many answers at a time.
ROWS_AT_ONCE = 1_024


class EscalateSpec(JobSpec):
    """What to look at.

    Attributes:
        requests: folder of the round's requests.
        policy, policy_settings: a cascade's, not settled.
        candidates: names, the order of the router's columns.
        candidate_ids: the same by id.
        router, checkpoint: version and place of a router that reads answers; empty with `verifier`.
        verifier: the scorer whose rewards decide; None with `router`.
        inputs: versions of the tables read.
    """

    job: ClassVar[str] = "escalate"

    requests: str
    policy: str
    policy_settings: dict[str, Any]
    candidates: tuple[str, ...]
    candidate_ids: tuple[str, ...]
    router: str = ""
    checkpoint: str = ""
    verifier: Label | None = None
    inputs: dict[str, int]


def escalate(spec: EscalateSpec, run: Run) -> Manifest:
    """Write the next round's requests; returns how many there are, and for whom.

    Raises:
        InputError: the verifier needs a reference, or the policy is no cascade.
    """
    policy = load_policy(spec.policy, settings=spec.policy_settings).among(spec.candidates)
    if not isinstance(policy, Cascade):
        raise InputError(f"policy '{policy.name}' asks nobody twice; name --policy cascade")
    run.storage.delete_below(run.uri("asked"))
    run.storage.delete_below(run.uri("judged"))
    usage = Usage()
    answered, accepted, number = 0, 0, 0
    asked = dict.fromkeys(spec.candidates, 0)
    with _judge(spec) as (judge, spent):
        for number, calls in enumerate(_calls(spec)):
            # What is expected after the answers waits until a share is settled on all of them.
            reward = pl.DataFrame(as_columns({"after": judge(calls)}))
            write_frame(pl.concat([calls, reward], how="horizontal"), _judged_uri(run, number))
            answered += calls.height
            run.progress(Part("answers looked at", done=answered, total=0))
        usage = spent()
    settled = policy.settle(lambda: (one.to_cut for one in _judged(run)))
    assert isinstance(settled, Cascade), "a cascade stays one"
    for number, one in enumerate(_judged(run)):
        onward = escalated(one, policy=settled, ids=list(spec.candidate_ids))
        accepted += one.calls.height - onward.height
        if onward.height:
            write_frame(onward.select(_kept(onward)), run.uri("asked", f"{number:05d}.parquet"))
        for name, count in zip(*_counts(onward, spec=spec), strict=True):
            asked[name] += count
    run.storage.delete_below(run.uri("judged"))
    return {
        "outputs": [],
        "requests": run.uri("asked") if sum(asked.values()) else "",
        "answered": answered,
        "accepted": accepted,
        "asked": asked,
        "policy_facts": settled.facts(),
        "verifier": vars(usage),
    }


def _calls(spec: EscalateSpec) -> Iterator[pl.DataFrame]:
    """The requests that were made, with their answers, part by part."""
    names = dict(zip(spec.candidate_ids, spec.candidates, strict=True))
    lake, version = Lake.open(spec.lake), spec.inputs["completions"]
    for uri in frames_in(spec.requests):
        requests = read_frame(uri)
        answered = Answered(lake, version, (uri,), names)
        calls = answered.calls(requests[ASK]).filter(pl.col("outcome").is_not_null())
        asked = requests.select(ASK, "query", "messages", asked_text="text")
        joined = calls.join(asked, on=ASK, maintain_order="left")
        if joined.height:
            yield joined


def _judged(run: Run) -> Iterator[Judged]:
    for uri in frames_in(run.uri("judged")):
        calls = read_frame(uri)
        yield judged(calls, reward=required_block(calls, "after"))


def _judged_uri(run: Run, number: int) -> str:
    return run.uri("judged", f"{number:05d}.parquet")


@contextmanager
def _judge(spec: EscalateSpec) -> Iterator[tuple[Judge, Any]]:
    """Who says what an answer is worth, and what that has used by then."""
    if spec.verifier is None:
        yield read_after(load_checkpoint(spec.checkpoint, version=spec.router).router), Usage
        return
    label = spec.verifier
    scorer = label.scorer()
    check_verifier(scorer, name=label.name)
    used = [Usage()]

    def rewards(calls: pl.DataFrame) -> Any:
        rated = list(_rated(scorer, answers=_as_answers(calls)))
        for one in rated:
            used[0] += one.usage
        values = pl.concat([one.ratings for one in rated])["value"]
        _refuse_if_blind(values, calls=calls, name=label.name)
        return verified(values, calls=calls)

    if scorer.needs_actor:
        connect()
    yield rewards, lambda: used[0]


def check_verifier(scorer: Scorer, *, name: str) -> None:
    """Make sure a scorer can look at one answer by itself.

    Raises:
        InputError: it compares answers, or is made from others' rewards.
    """
    if scorer.whole_queries or scorer.reads:
        what = "compares answers" if scorer.whole_queries else "is made from others' rewards"
        raise InputError(
            f"--verifier {name}: it {what}, and a cascade has one answer at a time; name a scorer "
            "such as regex, json_schema, reward_model or judge"
        )


def _rated(scorer: Scorer, *, answers: pl.DataFrame) -> Iterable[Rated]:
    parts = list(answers.iter_slices(ROWS_AT_ONCE))
    if scorer.needs_actor:
        return work_in_actors(scorer, parts=parts, placement=scorer.placement)
    with scorer.open() as rate:
        return [rate(part) for part in parts]


def _as_answers(calls: pl.DataFrame) -> pl.DataFrame:
    """Answers as a scorer sees them; nobody knows the right one."""
    none = pl.lit(None, dtype=pl.String)
    return calls.select(
        "query_id",
        "candidate_id",
        "text",
        "messages",
        "outcome",
        "first_logprobs",
        query="query",
        candidate="name",
        sample=pl.lit(0, dtype=pl.Int32),
        reference=none,
        task=pl.lit(""),
        new=pl.lit(True),
    )


def _refuse_if_blind(values: pl.Series, *, calls: pl.DataFrame, name: str) -> None:
    good = (calls["outcome"] != "error").to_numpy()
    if len(values) > 1 and good.any() and values.filter(pl.Series(good)).null_count() == good.sum():
        raise InputError(
            f"--verifier {name}: it gives no reward to any of {good.sum()} answers, as scorers do "
            "that compare with a reference; name one that needs none, such as regex, json_schema, "
            "reward_model or judge"
        )


def _kept(calls: pl.DataFrame) -> list[pl.Expr]:
    """The columns of a request, without those of the answer before."""
    blocks = [name for name in calls.columns if name.split(":")[0] in BLOCKS and ":" in name]
    plain = (ASK, "query_id", "messages", "query", "characters", "column", "candidate_id")
    return [*map(pl.col, (*plain, "predicted_usd", *blocks)), pl.col("asked_text").alias("text")]


BLOCKS = ("reward", "tokens", "cost", "allowed", "asked")


def _counts(onward: pl.DataFrame, *, spec: EscalateSpec) -> tuple[list[str], list[int]]:
    found: Mapping[int, int] = dict(onward["column"].value_counts().iter_rows())
    columns = sorted(found)
    return [spec.candidates[column] for column in columns], [found[column] for column in columns]


if __name__ == "__main__":
    main(EscalateSpec, work=escalate)
