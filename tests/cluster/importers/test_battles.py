import gzip
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.importers.battle_table import BATTLE_SCHEMA
from cluster.importers.battles import WINNERS, read


def spoken(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": "well"}]


def arena(text: str, a: str, b: str, winner: str, **more: object) -> dict[str, object]:
    """A row as LMSYS' 33k has it."""
    sides = {"question_id": "q", "model_a": a, "model_b": b, "winner": winner}
    talk = {"conversation_a": spoken(text), "conversation_b": spoken(text)}
    return {**sides, "judge": "arena_user_7", **talk, "turn": 1, **more}


ARENA = [
    arena("one", "x", "y", "model_a"),
    arena("two", "y", "z", "model_b"),
    arena("two", "x", "z", "tie"),
    arena("three", "x", "y", "tie (bothbad)", judge="expert"),
]


def put(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    elif path.suffix == ".csv":
        pl.DataFrame(rows).write_csv(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        path.write_bytes(gzip.compress(lines.encode()))
    return path


@pytest.mark.parametrize(
    "name", ["a.json", "a.jsonl", "a.jsonl.gz", "train-00000-of-00001-cced.parquet"]
)
def test_the_arenas_conversations(tmp_path: Path, name: str) -> None:
    table = read(str(put(tmp_path / name, ARENA)))
    assert table.rows.schema == BATTLE_SCHEMA
    assert table.rows["text"].to_list() == ["one", "two", "two", "three"]
    assert table.rows["outcome"].to_list() == [1.0, 0.0, 0.5, 0.5]
    assert table.rows["judge"].to_list() == ["human", "human", "human", "expert"]
    assert set(table.rows["split"]) == {"train"}
    assert (table.candidates, table.ties) == (["x", "y", "z"], 2)
    assert table.queries.height == 3


def test_the_arenas_55k(tmp_path: Path) -> None:
    flags = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    rows = [
        {
            "id": number,
            "model_a": "x",
            "model_b": "y",
            "prompt": json.dumps([f"text {number}", "and then?"]),
            "response_a": json.dumps(["yes", "no"]),
            **dict(zip(("winner_model_a", "winner_model_b", "winner_tie"), won, strict=True)),
        }
        for number, won in enumerate(flags)
    ]
    table = read(str(put(tmp_path / "train.csv", rows)))
    assert table.rows["text"].to_list() == ["text 0", "text 1", "text 2"]
    assert table.rows["outcome"].to_list() == [1.0, 0.0, 0.5]


def test_the_arenas_140k(tmp_path: Path) -> None:
    """Turns in parts; both bad is a tie; an image without text says nothing."""

    def parts(text: str | None) -> list[dict[str, object]]:
        part = {"type": "text" if text else "image", "text": text, "image": None}
        return [{"role": "user", "content": [part]}]

    rows = [
        {"model_a": "x", "model_b": "y", "winner": "both_bad", "conversation_a": parts(text)}
        for text in ("seen", None)
    ]
    table = read(str(put(tmp_path / "part.parquet", rows)))
    assert table.rows["text"].to_list() == ["seen"]
    assert table.rows["outcome"].to_list() == [0.5]
    assert table.left_out.select("reason", "queries").rows() == [("no text in the first turn", 1)]


def test_a_plain_table(tmp_path: Path) -> None:
    rows = [
        {"question": "[one", "task": "t", "split": "dev", "outcome": 0.75, "judge": "gpt"},
        {"question": '["two"]', "task": None, "split": "test", "outcome": None, "judge": ""},
        {"question": '["two"]', "task": None, "split": "test", "outcome": 0, "judge": ""},
    ]
    sided = [{"model_a": "x", "model_b": "y", **row} for row in rows]
    table = read(str(put(tmp_path / "votes.csv", sided)))
    found = table.rows.select("text", "task", "split", "judge", "outcome").rows()
    assert found == [
        ("[one", "t", "validation", "gpt", 0.75),
        ('["two"]', "battles", "test", "human", 0.0),
    ]
    assert table.left_out["reason"].to_list() == ["no outcome"]


def test_a_winner_may_be_named(tmp_path: Path) -> None:
    rows = [{"text": "t", "model_a": "x", "model_b": "y", "winner": name} for name in "xy"]
    assert read(str(put(tmp_path / "t.jsonl", rows))).rows["outcome"].to_list() == [1.0, 0.0]


def test_the_same_two_meeting_again_are_another_battle(tmp_path: Path) -> None:
    twice = [ARENA[0], ARENA[0], arena("one", "x", "z", "tie"), arena("one", "y", "x", "tie")]
    rows = read(str(put(tmp_path / "a.json", twice))).rows
    assert rows["occurrence"].to_list() == [0, 1, 0, 0]


def test_the_split_is_what_the_column_says_or_the_files_name(tmp_path: Path) -> None:
    put(tmp_path / "votes_test.jsonl", ARENA[:1])
    put(tmp_path / "more.jsonl", [ARENA[1]])
    put(tmp_path / "said.jsonl", [ARENA[3] | {"split": "validation"}])
    rows = read(str(tmp_path)).rows
    found = dict(rows.select("text", "split").iter_rows())
    assert found == {"one": "test", "two": "train", "three": "validation"}


def test_a_clone_keeps_its_files_in_data(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    put(tmp_path / "data" / "train-00000-of-00001.parquet", ARENA)
    assert read(str(tmp_path)).rows.height == 4


def test_another_column_of_the_text(tmp_path: Path) -> None:
    file = put(tmp_path / "a.json", [ARENA[0] | {"asked": "mine"}])
    assert read(str(file), text_column="asked").rows["text"].to_list() == ["mine"]
    with pytest.raises(InputError, match=r"no column 'absent'.*--text-column"):
        read(str(file), text_column="absent")


PLAIN = {"text": "t", "model_a": "x", "model_b": "y", "outcome": 1}
BAD = [
    ({"model_b": "x"}, "row 2, fields 'model_a' and 'model_b': both are 'x'.*take the row out"),
    ({"model_a": " "}, "row 2, field 'model_a': expected a candidate's name.*take the row out"),
    ({"outcome": 1.5}, r"row 2, field 'outcome': expected a number from 0.*found '1\.5'"),
    ({"outcome": "better"}, "row 2, field 'outcome': expected a finite number, found 'better'"),
    ({"outcome": None, "text": ""}, "row 2, field 'text': expected the query's text"),
    ({"split": "holdout"}, "row 2, field 'split': expected train, validation"),
    ({"text": ["a"]}, "row 2, field 'text': expected text or a number"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_bad_row_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    file = put(tmp_path / "t.jsonl", [PLAIN | {"split": "train"}, PLAIN | change])
    with pytest.raises(InputError, match=message) as caught:
        read(str(file))
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"winner": "left"}, "row 2, field 'winner': expected model_a, model_b, tie.*'left'"),
        ({"winner": "z"}, "row 2, field 'winner'.*name of one of the two, found 'z'"),
    ],
)
def test_an_unknown_winner_is_named(tmp_path: Path, change: dict[str, str], message: str) -> None:
    file = put(tmp_path / "t.jsonl", [ARENA[0], ARENA[0] | change])
    with pytest.raises(InputError, match=message):
        read(str(file))


def test_two_winners_are_none(tmp_path: Path) -> None:
    sides = {"text": "t", "model_a": "x", "model_b": "y"}
    rows = [sides | {"winner_model_a": 1, "winner_model_b": won} for won in (0, 1)]
    with pytest.raises(InputError, match=r"row 2, fields 'winner_model_a', .*found '1', '1'"):
        read(str(put(tmp_path / "t.csv", rows)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.json", "", "broken JSON"),
        ("t.json", "[]", "no rows"),
        ("t.json", "{}", "expected a JSON list"),
        ("t.json", "[1]", "row 1: expected a JSON object"),
        ("t.jsonl", "", "no rows"),
        ("t.jsonl", '{"text": "t", "outcome": NaN}\n', "line 1: broken JSON.*NaN"),
        ("t.csv", "", "the file is empty"),
        ("t.csv", "text,model_a,outcome\nt,x,1\n", "no column 'model_b'"),
        ("t.csv", "text,model_a,model_b\nt,x,y\n", "no column 'winner'; expected model_a"),
        (
            "t.csv",
            "said,model_a,model_b,outcome\nt,x,y,1\n",
            "no column 'conversation_a' or 'text'",
        ),
        ("t.csv", "text,model_a,model_b,outcome\nt,x,y,nan\n", "row 1, field 'outcome'"),
        ("t.csv", "text,model_a,model_b,outcome\nt,x,y,\n", "no battle in it"),
        ("t.txt", "", "unknown format; expected .parquet, or .csv, .jsonl or .json,"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read(str(file))
    assert str(file) in str(caught.value)


def test_not_a_number_in_parquet_is_named(tmp_path: Path) -> None:
    file = put(tmp_path / "t.parquet", [PLAIN, PLAIN | {"outcome": float("nan")}])
    with pytest.raises(InputError, match="row 2, field 'outcome': expected a finite number"):
        read(str(file))


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(str.strip)
BATTLE = st.tuples(TEXT, st.sampled_from(("xy", "yz", "zx")), st.sampled_from(sorted(WINNERS)))


@settings(max_examples=40, deadline=None)
@given(battles=st.lists(BATTLE, min_size=1, max_size=8))
def test_every_battle_is_kept_once(battles, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("t") / "t.json"
    put(file, [arena(text, *sides, winner) for text, sides, winner in battles])
    rows = read(str(file)).rows
    assert rows["outcome"].to_list() == [WINNERS[winner] for *_, winner in battles]
    assert rows.select(["candidate_a", "candidate_b"]).rows() == [tuple(s) for _, s, _ in battles]
    assert rows.select("text", "candidate_a", "candidate_b", "occurrence").is_unique().all()
