"""Users' verdicts, however they are written."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.importers.verdicts import read


@pytest.fixture
def verdicts(tmp_path):
    """What is read of rows in one file."""

    def write(rows: list[dict], name: str = "verdicts.jsonl"):
        path = tmp_path / name
        if name.endswith(".jsonl"):
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif name.endswith(".csv"):
            pl.DataFrame(rows).write_csv(path)
        else:
            pl.DataFrame(rows).write_parquet(path)
        return read(str(path))

    return write


def about(**verdict) -> dict:
    return {"text": "How many?", "candidate": "small", **verdict}


@pytest.mark.parametrize(
    ("verdict", "value"),
    [
        ({"thumb": "up"}, 1.0),
        ({"thumb": "Down "}, 0.0),
        ({"thumb": 1}, 1.0),
        ({"thumb": 0}, 0.0),
        ({"thumb": True}, 1.0),
        ({"thumb": "👎"}, 0.0),
        ({"score": 0.25}, 0.25),
        ({"score": "0.25"}, 0.25),
        ({"edit": 0.25}, 0.75),
        ({"ticket": "T-17"}, 0.0),
        ({"answer": "there are two of them", "edited": "there are two of them"}, 1.0),
        ({"answer": "a b c d", "edited": "a b c e"}, 0.75),
        ({"answer": "nothing", "edited": "everything"}, 0.0),
    ],
)
@pytest.mark.parametrize("name", ["v.jsonl", "v.csv", "v.parquet"])
def test_a_verdict_is_a_value_from_0_to_1(verdicts, verdict, value, name):
    table = verdicts([about(**verdict)], name)
    assert table.rows["value"].to_list() == [pytest.approx(value)]
    assert table.rows["text"].to_list() == ["How many?"]
    assert (table.broken.height, table.silent) == (0, 0)


def test_each_column_that_is_filled_is_a_verdict(verdicts):
    table = verdicts([about(thumb="up", score=0.5), about(thumb=None, score=None), about(score=1)])
    assert table.rows.select("row", "kind", "value").rows() == [
        (1, "thumb", 1.0),
        (1, "score", 0.5),
        (3, "score", 1.0),
    ]
    assert table.silent == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (about(thumb="sideways"), "field 'thumb': expected up or down"),
        (about(score=1.5), "field 'score': expected a number from 0 (bad) to 1 (good)"),
        (about(score="NaN"), "field 'score'"),
        (about(edit=-0.1), "field 'edit'"),
        (about(answer=None, edited="x"), "beside the column 'answer'"),
        ({"text": "x", "candidate": " ", "thumb": 1}, "field 'candidate' is empty"),
        ({"text": "", "candidate": "small", "thumb": 1}, "which query"),
    ],
)
def test_a_row_that_says_nothing_clear_is_set_aside(verdicts, row, reason):
    good = {"text": "fine", "candidate": "small", **dict.fromkeys(row.keys() - {"text"}, None)}
    table = verdicts([good | {"candidate": "small", "ticket": "x"}, row])
    assert table.rows["text"].to_list() == ["fine"]
    assert table.broken["row"].to_list() == [2]
    assert reason in table.broken["reason"][0]


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"text": "x", "candidate": "a"}, "no column with a verdict"),
        ({"text": "x", "thumb": 1}, "no column 'candidate'"),
        ({"candidate": "a", "thumb": 1}, "which query"),
        ({"text": "x", "candidate": "a", "edited": "y"}, "needs the answer"),
    ],
)
def test_a_file_without_what_it_takes_is_refused(verdicts, row, word):
    with pytest.raises(InputError, match=word):
        verdicts([row])


@given(st.lists(st.one_of(st.none(), st.text(max_size=8), st.floats(), st.booleans())))
def test_whatever_stands_there_is_a_verdict_or_broken_or_nothing(tmp_path_factory, said):
    rows = [about(thumb=None, ticket="t"), *(about(score=value) for value in said)]
    path = tmp_path_factory.mktemp("any") / "v.jsonl"
    lines = [json.dumps(row).replace("NaN", "null").replace("Infinity", "9e99") for row in rows]
    path.write_text("\n".join(lines).replace("-9e99", "9e99"))
    table = read(str(path))
    assert table.rows.height + table.broken.height + table.silent == len(rows)
    assert table.rows["value"].is_between(0, 1).all()
