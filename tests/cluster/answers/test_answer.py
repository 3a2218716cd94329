"""Answers beside the rows that asked: in their order, each query once, with what it all cost."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from cluster.answers import requests as requests_module
from cluster.errors import InputError

from .conftest import Desk, answered, failed


@pytest.fixture
def rows() -> pl.DataFrame:
    """Sums and poems in turn; the last two are the first two again."""
    texts = [f"add {n} and 7" if n % 2 else f"a poem on {n} trees" for n in range(10)]
    return pl.DataFrame({"id": range(12), "text": texts + texts[:2]})


def output(manifest: dict) -> pl.DataFrame:
    return pl.read_parquet(manifest["outputs"][0])


def test_every_row_gets_the_answer_of_its_candidate_in_the_order_of_the_input(
    desk: Desk, rows: pl.DataFrame
) -> None:
    spec = desk.spec(rows)
    routed = desk.route(spec)
    asked = desk.asked(f"{routed['to_answer']['folder']}/asked")
    assert asked.height == asked["query_id"].n_unique() == 10
    desk.answer(asked)
    manifest = desk.join(spec, routed)
    found = output(manifest)
    assert found.select(rows.columns).equals(rows)
    assert found.select(pl.read_parquet(spec.output).columns).equals(pl.read_parquet(spec.output))
    assert found["answered_by"].to_list() == ["strong", "cheap"] * 6
    assert found["answer"].to_list() == ["id-2!", "id-1!"] * 6
    assert found["cost_usd"].to_list() == pytest.approx([1200e-6, 120e-6] * 6)
    assert (manifest["rows"], manifest["answers"], manifest["errors"]) == (12, 12, 0)


def test_a_query_is_paid_once_however_often_it_is_asked(desk: Desk, rows: pl.DataFrame) -> None:
    spec = desk.spec(rows)
    routed = desk.route(spec)
    desk.answer(desk.asked(f"{routed['to_answer']['folder']}/asked"))
    manifest = desk.join(spec, routed)
    assert manifest["cost_usd"] == pytest.approx(5 * 1320e-6)
    cheap, strong = manifest["candidates"]
    assert (cheap["answered"], strong["answered"]) == (5, 5)
    assert cheap["prompt_tokens"] == 500
    characters = rows[:10].filter(pl.col("id") % 2 == 1)["text"].str.len_chars().sum()
    assert cheap["predicted"]["prompt_tokens"] == pytest.approx(characters / 2)
    assert cheap["predicted"]["completion_tokens"] == pytest.approx(50)
    usd = (characters / 2 * 1 + 50 * 2) / 1e6
    assert cheap["predicted"]["usd"] == pytest.approx(usd)
    before = {row["candidate"]: row for row in routed["to_answer"]["expected"]}
    assert before["cheap"] == {"candidate": "cheap", **cheap["predicted"]}


def test_requests_in_parts_are_the_same_requests(
    desk: Desk, rows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = desk.asked(f"{desk.route(desk.spec(rows))['to_answer']['folder']}/asked")
    monkeypatch.setattr(requests_module, "REQUEST_ROWS", 3)
    routed = desk.route(desk.spec(rows, output=str(desk.folder / "other.parquet")))
    folder = Path(routed["to_answer"]["folder"]) / "asked"
    assert [pl.read_parquet(file).height for file in sorted(folder.iterdir())] == [3, 3, 3, 1]
    assert desk.asked(str(folder)).equals(whole)


def test_a_sample_is_of_distinct_queries_and_all_their_rows(desk: Desk, rows: pl.DataFrame) -> None:
    spec = desk.spec(rows, answer_rows=4)
    routed = desk.route(spec)
    asked = desk.asked(f"{routed['to_answer']['folder']}/asked")
    assert asked["query_id"].n_unique() == asked.height == 4
    desk.answer(asked)
    found = output(desk.join(spec, routed))
    assert found["text"].n_unique() == 4
    assert found["id"].is_sorted()
    assert found["answer"].null_count() == 0
    shuffled = desk.spec(rows.reverse(), answer_rows=4, output=str(desk.folder / "b.parquet"))
    again = desk.asked(f"{desk.route(shuffled)['to_answer']['folder']}/asked")
    assert set(again["query_id"]) == set(asked["query_id"])


def test_errors_are_told_in_their_rows_and_counted(desk: Desk, rows: pl.DataFrame) -> None:
    spec = desk.spec(rows)
    routed = desk.route(spec)
    asked = desk.asked(f"{routed['to_answer']['folder']}/asked")
    bad = asked["query_id"][0]
    desk.answer(asked, reply=lambda q, c: failed(q, c) if q == bad else answered(q, c))
    manifest = desk.join(spec, routed)
    found = output(manifest)
    assert found["error"].to_list() == ["no luck", *[None] * 9, "no luck", None]
    assert found["outcome"].to_list() == ["error", *["ok"] * 9, "error", "ok"]
    assert (manifest["answers"], manifest["errors"]) == (10, 2)
    assert [one["errors"] for one in manifest["candidates"]] == [0, 1]
    assert manifest["cost_usd"] == pytest.approx(5 * 120e-6 + 4 * 1200e-6)


def test_what_was_never_asked_is_empty_and_counted(desk: Desk, rows: pl.DataFrame) -> None:
    spec = desk.spec(rows)
    routed = desk.route(spec)
    desk.answer(desk.asked(f"{routed['to_answer']['folder']}/asked")[:3])
    manifest = desk.join(spec, routed)
    found = output(manifest)
    assert found["answer"].null_count() == 12 - 5
    assert found["calls"].to_list() == [1, 1, 1, *[0] * 7, 1, 1]
    assert sum(one["unasked"] for one in manifest["candidates"]) == 7


@pytest.mark.parametrize("known", [[], ["cheap"]])
def test_what_is_not_known_of_one_cost_is_not_known_of_all(
    desk: Desk, rows: pl.DataFrame, known: list[str]
) -> None:
    spec = desk.spec(rows)
    routed = desk.route(spec)
    desk.answer(desk.asked(f"{routed['to_answer']['folder']}/asked"))
    prices = {name: spec.prices[name] for name in known}
    manifest = desk.join(spec, routed, prices=prices)
    assert manifest["cost_usd"] is None
    assert manifest["answers"] == 12


def test_lists_of_the_input_are_lists_again(desk: Desk) -> None:
    lines = [{"text": f"add {n} and 7", "tags": [n, "x"]} for n in range(3)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    spec = desk.spec(text, output=str(desk.folder / "out.jsonl"))
    routed = desk.route(spec)
    desk.answer(desk.asked(f"{routed['to_answer']['folder']}/asked"))
    manifest = desk.join(spec, routed, output=str(desk.folder / "out.answers.jsonl.gz"))
    with gzip.open(manifest["outputs"][0], "rt") as stream:
        found = [json.loads(line) for line in stream]
    assert [row["tags"] for row in found] == [line["tags"] for line in lines]
    assert [row["answer"] for row in found] == ["id-1!"] * 3


def test_what_is_a_list_in_one_file_and_a_text_in_another_stays_both(desk: Desk) -> None:
    other = {"text": "add 9 and 7", "tags": "hello"}
    (desk.folder / "in.b.jsonl").write_text(json.dumps(other))
    one = {"text": "add 1 and 7", "tags": ["x"]}
    spec = desk.spec(json.dumps(one), output=str(desk.folder / "out.jsonl"))
    routed = desk.route(spec)
    desk.answer(desk.asked(f"{routed['to_answer']['folder']}/asked"))
    manifest = desk.join(spec, routed, output=str(desk.folder / "out.answers.jsonl"))
    for file in (spec.output, manifest["outputs"][0]):
        lines = [json.loads(line) for line in Path(file).read_text().splitlines()]
        assert sorted(map(str, (line["tags"] for line in lines))) == ["['x']", "hello"]


def test_a_rule_about_a_tag_holds_for_a_text_that_stands_there_twice(desk: Desk) -> None:
    rows = pl.DataFrame({"text": ["add 1 and 7"] * 3, "tag": ["chat", "medical", "chat"]})
    rule = {"tag": "medical", "never": ["cheap"]}
    spec = desk.spec(rows, constraints={"tag_column": "tag", "rules": [rule]})
    routed = desk.route(spec)
    asked = desk.asked(f"{routed['to_answer']['folder']}/asked")
    assert asked["candidate_id"].to_list() == ["id-1", "id-2"]
    desk.answer(asked)
    found = output(desk.join(spec, routed))
    assert found["candidate"].to_list() == ["cheap", "strong", "cheap"]
    assert found["answered_by"].to_list() == ["cheap", "strong", "cheap"]


def test_a_file_that_is_not_of_this_routing_is_refused_or_replaced(
    desk: Desk, rows: pl.DataFrame
) -> None:
    spec = desk.spec(rows)
    routed = desk.route(spec)
    desk.answer(desk.asked(f"{routed['to_answer']['folder']}/asked"))
    target = desk.folder / "out.answers.parquet"
    target.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"out\.answers\.parquet: is there already.*--overwrite"):
        desk.join(spec, routed)
    assert target.read_bytes() == b"mine"
    assert desk.join(spec, routed, overwrite=True)["answers"] == 12
    assert desk.join(spec, routed)["answers"] == 12
    with pytest.raises(InputError, match="--overwrite"):
        desk.join(spec, routed, work="route-2")


def test_a_column_that_answers_would_replace_is_refused_before_anything(
    desk: Desk, rows: pl.DataFrame
) -> None:
    taken = rows.with_columns(answer=pl.lit("mine"))
    with pytest.raises(InputError, match=r"column 'answer' already.*--prefix"):
        desk.route(desk.spec(taken))
    assert desk.route(desk.spec(taken, prefix="r_"))["rows"] == 12


def test_a_row_that_holds_no_chat_makes_no_texts_of_the_others(desk: Desk) -> None:
    chat = [{"role": "user", "content": "add 1 and 7"}]
    lines = [{"chat": chat}, {"chat": "hello"}, {"chat": chat}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    spec = desk.spec(
        text,
        texts="messages",
        text_column="chat",
        output=str(desk.folder / "out.jsonl"),
        max_error_share=0.5,
    )
    manifest = desk.route(spec)
    assert manifest["broken"] == 1
    written = [json.loads(line) for line in Path(spec.output).read_text().splitlines()]
    assert [row["chat"] for row in written] == [chat, chat]


def test_chats_come_back_as_they_were_with_the_answer_to_all_of_them(desk: Desk) -> None:
    add = [{"role": "user", "content": "add 1 and 7"}]
    told = [{"role": "system", "content": "be brief"}, *add]
    lines = [{"n": n, "chat": chat} for n, chat in enumerate([add, told, add, told[:1], told])]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    spec = desk.spec(
        text,
        texts="messages",
        text_column="chat",
        output=str(desk.folder / "out.jsonl"),
        max_error_share=0.2,
    )
    routed = desk.route(spec)
    asked = desk.asked(f"{routed['to_answer']['folder']}/asked")
    assert asked["text"].to_list() == ["add 1 and 7", "system: be brief\n\nuser: add 1 and 7"]
    assert [one and json.loads(one) for one in asked["messages"]] == [None, told]
    assert asked["query"].to_list() == ["add 1 and 7"] * 2
    assert asked["characters"].to_list() == [11, 19]
    desk.answer(asked, reply=lambda q, c: answered(q, c, text=q))
    manifest = desk.join(spec, routed, output=str(desk.folder / "a.jsonl"))
    rows = [json.loads(line) for line in Path(manifest["outputs"][0]).read_text().splitlines()]
    assert [row["n"] for row in rows] == [0, 1, 2, 4]
    assert [row["chat"] for row in rows] == [add, told, add, told]
    first, second = asked["query_id"]
    assert [row["answer"] for row in rows] == [first, second, first, second]
