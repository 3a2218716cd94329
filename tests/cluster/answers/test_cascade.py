"""A cascade in rounds: the cheap one first, the strong one where its answer will not do."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cluster.errors import InputError
from cluster.labels import Label
from cluster.routers.post_answer import PostAnswer

from .conftest import NAMES, Desk, answered, failed, outcomes, saved

DIGITS = Label(name="digits", method="regex", settings={"pattern": r"\d+"})
VERIFIED = {"policy": "cascade", "policy_settings": {"accept_from": 1.0}, "rounds": True}


@pytest.fixture
def rows() -> pl.DataFrame:
    texts = [f"add {n} and 7" if n % 2 else f"a poem on {n} trees" for n in range(8)]
    return pl.DataFrame({"text": [*texts, texts[0]]})


def cheap_counts(query_id: str, candidate_id: str) -> dict:
    """The cheap one says a number to about half of the queries."""
    number = int(query_id, 16) % 2
    return answered(query_id, candidate_id, text="42" if number else "I do not know")


def by_name(pairs: list[dict]) -> dict[str, dict]:
    return {one["candidate"]: one for one in pairs}


def test_a_verifier_sends_on_what_it_does_not_accept(desk: Desk, rows: pl.DataFrame) -> None:
    spec = desk.spec(rows, **VERIFIED)
    routed = desk.route(spec)
    first = f"{routed['to_answer']['folder']}/asked"
    asked = desk.asked(first)
    assert set(asked["candidate_id"]) == {"id-1"}
    desk.answer(asked, reply=cheap_counts)
    accepted = [int(one, 16) % 2 == 1 for one in asked["query_id"]]
    assert 0 < sum(accepted) < 8, "the texts must give both cases"
    settings = VERIFIED["policy_settings"]
    told = desk.escalate(first, routed, policy_settings=settings, verifier=DIGITS)
    assert (told["answered"], told["accepted"]) == (8, sum(accepted))
    assert told["asked"] == {"cheap": 0, "strong": 8 - sum(accepted)}
    second = desk.asked(told["requests"])
    refused = asked.filter(~pl.Series(accepted))
    assert second.select("query_id", "text").equals(refused.select("query_id", "text"))
    desk.answer(second)

    manifest = desk.join(spec, routed, told["requests"])
    found = pl.read_parquet(manifest["outputs"][0])
    ids = {text: one for one, text in asked.select("query_id", "text").iter_rows()}
    good = [int(ids[text], 16) % 2 == 1 for text in found["text"]]
    assert found["answered_by"].to_list() == ["cheap" if one else "strong" for one in good]
    assert found["calls"].to_list() == [1 if one else 2 for one in good]
    spent = [120e-6 if one else 1320e-6 for one in good]
    assert found["cost_usd"].to_list() == pytest.approx(spent)
    assert manifest["cost_usd"] == pytest.approx(sum(spent[:8]))
    counts = by_name(manifest["candidates"])
    assert (counts["cheap"]["answered"], counts["strong"]["answered"]) == (8, 8 - sum(accepted))


def test_a_rule_about_a_tag_holds_in_every_round(desk: Desk) -> None:
    """The same text may go on in one row and may not in another; the first answer serves both."""
    texts = ["add 1 and 7"] * 3
    rows = pl.DataFrame({"text": texts, "tag": ["chat", "secret", "medical"]})
    rules = [
        {"tag": "secret", "never": ["strong"]},
        {"tag": "medical", "never": ["cheap"]},
    ]
    spec = desk.spec(rows, constraints={"tag_column": "tag", "rules": rules}, **VERIFIED)
    routed = desk.route(spec)
    expected = by_name(routed["to_answer"]["expected"])
    assert (expected["cheap"]["requests"], expected["strong"]["requests"]) == (1, 1)
    first = f"{routed['to_answer']['folder']}/asked"
    desk.answer(desk.asked(first).unique(["query_id", "candidate_id"]))
    settings = VERIFIED["policy_settings"]
    label = Label(name="never", method="regex", settings={"pattern": "never"})
    told = desk.escalate(first, routed, policy_settings=settings, verifier=label)
    manifest = desk.join(spec, routed, told["requests"])
    found = pl.read_parquet(manifest["outputs"][0])
    assert found["answered_by"].to_list() == ["strong", "cheap", "strong"]
    assert found["calls"].to_list() == [2, 1, 1]
    counts = by_name(manifest["candidates"])
    assert (counts["cheap"]["answered"], counts["strong"]["answered"]) == (1, 1)
    assert manifest["cost_usd"] == pytest.approx(1320e-6)


def test_nobody_is_asked_after_the_last(desk: Desk, rows: pl.DataFrame) -> None:
    routed = desk.route(desk.spec(rows, **VERIFIED))
    first = f"{routed['to_answer']['folder']}/asked"
    bad = {"policy_settings": VERIFIED["policy_settings"], "verifier": DIGITS}

    def silent(query_id: str, candidate_id: str) -> dict:
        return answered(query_id, candidate_id, text="no")

    desk.answer(desk.asked(first), reply=silent)
    told = desk.escalate(first, routed, **bad)
    assert told["asked"]["strong"] == 8
    desk.answer(desk.asked(told["requests"]), reply=silent)
    last = desk.escalate(told["requests"], routed, **bad)
    assert (last["requests"], last["accepted"]) == ("", 8)


def test_an_answer_that_failed_is_asked_for_again_of_the_next(
    desk: Desk, rows: pl.DataFrame
) -> None:
    spec = desk.spec(rows, **VERIFIED)
    routed = desk.route(spec)
    first = f"{routed['to_answer']['folder']}/asked"
    desk.answer(desk.asked(first), reply=failed)
    told = desk.escalate(
        first, routed, policy_settings=VERIFIED["policy_settings"], verifier=DIGITS
    )
    assert told["asked"]["strong"] == 8
    second = desk.asked(told["requests"])
    lost = second["query_id"][0]
    desk.answer(second, reply=lambda q, c: failed(q, c) if q == lost else answered(q, c))
    manifest = desk.join(spec, routed, told["requests"])
    found = pl.read_parquet(manifest["outputs"][0])
    assert found["outcome"].to_list() == ["error", *["ok"] * 7, "error"]
    assert found["calls"].to_list() == [2] * 9
    assert found["cost_usd"].to_list()[1] == pytest.approx(1200e-6)


def test_the_last_answer_stands_where_the_next_one_failed(desk: Desk, rows: pl.DataFrame) -> None:
    spec = desk.spec(rows, **VERIFIED)
    routed = desk.route(spec)
    first = f"{routed['to_answer']['folder']}/asked"
    desk.answer(desk.asked(first))
    settings = VERIFIED["policy_settings"]
    label = Label(name="never", method="regex", settings={"pattern": "never"})
    told = desk.escalate(first, routed, policy_settings=settings, verifier=label)
    desk.answer(desk.asked(told["requests"]), reply=failed)
    found = pl.read_parquet(desk.join(spec, routed, told["requests"])["outputs"][0])
    assert set(found["answered_by"]) == {"cheap"}
    assert set(found["outcome"]) == {"ok"}


def test_a_verifier_that_needs_a_reference_is_told_of(desk: Desk, rows: pl.DataFrame) -> None:
    routed = desk.route(desk.spec(rows, **VERIFIED))
    first = f"{routed['to_answer']['folder']}/asked"
    desk.answer(desk.asked(first))
    label = Label(name="exact", method="exact")
    settings = VERIFIED["policy_settings"]
    with pytest.raises(InputError, match=r"--verifier exact: it gives no reward to any of 8"):
        desk.escalate(first, routed, policy_settings=settings, verifier=label)


def test_what_is_expected_beforehand_counts_every_call(desk: Desk, rows: pl.DataFrame) -> None:
    """By the queries alone: sums end with the cheap one, poems go on to the strong one."""
    routed = desk.route(desk.spec(rows, **VERIFIED | {"policy_settings": {"accept_from": 0.5}}))
    expected = by_name(routed["to_answer"]["expected"])
    assert (expected["cheap"]["requests"], expected["strong"]["requests"]) == (8, 4)


@pytest.fixture(scope="module")
def reads_answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A router for which the cheap one's answer "sure" is good and "hm" is not, of any query."""
    data = outcomes()
    good = np.arange(len(data)) % 2 == 0
    said = pl.Series(np.where(good, "sure", "hm"))
    reward = np.column_stack([good, ~good]).astype(float)
    answers = pl.DataFrame(dict.fromkeys(NAMES, said))
    router = PostAnswer(strong="strong", weak="cheap").fit(
        replace(data, reward=reward, answers=answers), seed=0
    )
    return saved(router, tmp_path_factory.mktemp("post") / "router")


@pytest.mark.parametrize("settings", [{"threshold": 0.0}, {"strong_share": 0.5}])
def test_a_router_that_reads_the_answer_decides_who_goes_on(
    desk: Desk, rows: pl.DataFrame, reads_answers: tuple[str, str], settings: dict
) -> None:
    desk.checkpoint = reads_answers
    spec = desk.spec(rows, policy="cascade", policy_settings=settings, rounds=True)
    routed = desk.route(spec)
    assert routed["to_answer"]["candidates"] == NAMES[::-1]
    first = f"{routed['to_answer']['folder']}/asked"
    asked = desk.asked(first)
    assert set(asked["candidate_id"]) == {"id-1"}
    poems = dict(asked.select("query_id", pl.col("text").str.starts_with("a poem")).iter_rows())

    def said(query_id: str, candidate_id: str) -> dict:
        return answered(query_id, candidate_id, text="hm" if poems[query_id] else "sure")

    desk.answer(asked, reply=said)
    told = desk.escalate(
        first, routed, policy_settings=settings, router=spec.router, checkpoint=spec.checkpoint
    )
    second = desk.asked(told["requests"])
    assert all(text.startswith("a poem") for text in second["text"])
    assert (told["asked"], second.height) == ({"strong": 4, "cheap": 0}, 4)


@pytest.mark.parametrize(
    ("settings", "poems_that_go_on"), [({"threshold": 1.0}, 0), ({"strong_share": 0.5}, 2)]
)
def test_an_answer_that_failed_goes_on_beside_what_the_router_sends_on(
    desk: Desk,
    rows: pl.DataFrame,
    reads_answers: tuple[str, str],
    settings: dict,
    poems_that_go_on: int,
) -> None:
    """All sums fail: they go on whatever is expected, and a share is one of the answers alone."""
    desk.checkpoint = reads_answers
    spec = desk.spec(rows, policy="cascade", policy_settings=settings, rounds=True)
    routed = desk.route(spec)
    first = f"{routed['to_answer']['folder']}/asked"
    asked = desk.asked(first)
    poems = dict(asked.select("query_id", pl.col("text").str.starts_with("a poem")).iter_rows())

    def said(query_id: str, candidate_id: str) -> dict:
        if not poems[query_id]:
            return failed(query_id, candidate_id)
        return answered(query_id, candidate_id, text="sure")

    desk.answer(asked, reply=said)
    told = desk.escalate(
        first, routed, policy_settings=settings, router=spec.router, checkpoint=spec.checkpoint
    )
    texts = desk.asked(told["requests"])["text"]
    assert texts.str.starts_with("add").sum() == 4
    assert texts.str.starts_with("a poem").sum() == poems_that_go_on
    assert told["accepted"] == 4 - poems_that_go_on


def test_without_rounds_such_a_router_is_refused(
    desk: Desk, rows: pl.DataFrame, reads_answers: tuple[str, str]
) -> None:
    desk.checkpoint = reads_answers
    with pytest.raises(InputError, match=r"'cheap' has answered.*--policy cascade --answer -1"):
        desk.route(desk.spec(rows))
