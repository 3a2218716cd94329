import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.importers.score_table import ScoreTable
from cluster.importers.table import read

WIDE = [
    {"question": "x", "task": "sums", "split": "train", "a": 1.0, "b": 0.5, "cost:a": 0.02},
    {"question": "y", "task": "sums", "split": "test", "a": 0.0, "b": None, "cost:a": None},
    {"question": "x", "task": "sums", "split": "train", "a": 0.0, "b": 1.0, "cost:a": 0.03},
]
WIDE_ROWS = [
    ("train", "sums", "x", 0, "a", 1.0, 0.02),
    ("train", "sums", "x", 0, "b", 0.5, None),
    ("test", "sums", "y", 0, "a", 0.0, None),
    ("train", "sums", "x", 1, "a", 0.0, 0.03),
    ("train", "sums", "x", 1, "b", 1.0, None),
]
FORMATS = ["t.parquet", "t.csv", "t.csv.gz", "t.csv.zst", "t.jsonl", "t.jsonl.gz", "t.ndjson.zst"]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows in the format, and the compression, that the name asks for."""
    frame = pl.DataFrame(rows, infer_schema_length=None)
    if path.suffix == ".parquet":
        frame.write_parquet(path)
        return path
    text = frame.write_csv() if ".csv" in path.name else "\n".join(map(json.dumps, rows)) + "\n"
    data = text.encode()
    if path.suffix == ".gz":
        data = gzip.compress(data)
    if path.suffix == ".zst":
        data = pa.compress(data, codec="zstd", asbytes=True)
    path.write_bytes(data)
    return path


def scores(table: ScoreTable) -> list[tuple[Any, ...]]:
    columns = ("split", "task", "text", "occurrence", "candidate", "value", "cost_usd")
    return table.rows.select(columns).rows()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_table(tmp_path: Path, name: str) -> None:
    table = read(str(write(tmp_path / name, WIDE)))
    assert scores(table) == WIDE_ROWS
    assert set(table.rows["weight"]) == {1.0}
    assert set(table.rows["scorer"]) == {"accuracy"}


@pytest.mark.parametrize("name", FORMATS)
def test_long_form_says_the_same_as_wide(tmp_path: Path, name: str) -> None:
    keys = ("question", "task", "split")
    long = [
        {
            **{key: row[key] for key in keys},
            "candidate": candidate,
            "score": row[candidate],
            "cost_usd": row.get(f"cost:{candidate}"),
        }
        for row in WIDE
        for candidate in ("a", "b")
    ]
    assert scores(read(str(write(tmp_path / name, long)))) == WIDE_ROWS


def test_what_stands_beside_a_score_is_kept(tmp_path: Path) -> None:
    wide = {"prompt": "x", "m": 0.3, "tokens:m": 12, "prompt_tokens:m": 5, "samples:m": 10}
    long = {"prompt": "x", "candidate": "m", "score": 0.3, "completion_tokens": 12}
    more = {"prompt_tokens": 5, "samples": 10, "answer": "so", "scorer": "judge", "reference": "r"}
    fields = ("value", "completion_tokens", "prompt_tokens", "weight", "answer")
    first = read(str(write(tmp_path / "wide.csv", [{**wide, "answer:m": "so"}])), scorer="mean")
    second = read(str(write(tmp_path / "long.csv", [{**long, **more}])))
    assert first.rows.select(fields).rows() == [(0.3, 12.0, 5.0, 10.0, "so")]
    assert second.rows.select(fields).rows() == [(0.3, 12.0, 5.0, 10.0, "so")]
    assert first.rows["scorer"].to_list() == ["mean"]
    assert second.rows.select("scorer", "reference").rows() == [("judge", "r")]


def test_names_of_columns_can_be_said(tmp_path: Path) -> None:
    row = {"ask": "x", "area": "sums", "part": "dev", "gold": "4", "a": 1, "b": 0, "n": 3}
    table = read(
        str(write(tmp_path / "t.jsonl", [row])),
        text_column="ask",
        task_column="area",
        split_column="part",
        reference_column="gold",
        candidates=["b", "a"],
    )
    found = table.rows.select("text", "task", "split", "reference", "candidate").rows()
    assert found == [("x", "sums", "validation", "4", "b"), ("x", "sums", "validation", "4", "a")]


def test_task_and_split_may_come_from_the_name(tmp_path: Path) -> None:
    write(tmp_path / "gsm8k-train.csv", [{"text": "x", "a": 1}])
    write(tmp_path / "mbpp.csv", [{"text": "y", "b": True}])
    write(tmp_path / "train.jsonl.gz", [{"text": "z", "a": False}])
    (tmp_path / "README.md").write_text("not a table")
    for path in (tmp_path, tmp_path / "*.*[vz]"):
        table = read(str(path))
        assert sorted(scores(table)) == [
            ("test", "mbpp", "y", 0, "b", 1.0, None),
            ("train", "gsm8k", "x", 0, "a", 1.0, None),
            ("train", "table", "z", 0, "a", 0.0, None),
        ]


def test_bookkeeping_and_words_are_no_candidates(tmp_path: Path) -> None:
    row = {"id": 7, "text": "x", "category": "easy", "org/model:8b": 0.5, "cost": 1.0}
    table = read(str(write(tmp_path / "t.csv", [{**row, "cost": "cheap"}])))
    assert table.candidates == ["org/model:8b"]
    assert len(table.notes) == 1
    assert "'category'" in table.notes[0]


def test_query_without_any_score_is_counted(tmp_path: Path) -> None:
    rows = [{"text": "x", "a": 1.0}, {"text": "y", "a": None}]
    assert read(str(write(tmp_path / "t.csv", rows))).left_out.rows() == [
        ("test", "t", "no candidate has a score", 1)
    ]
    long = [{"text": row["text"], "candidate": "a", "score": row["a"]} for row in rows]
    assert read(str(write(tmp_path / "u.csv", long))).left_out.rows() == [
        ("test", "u", "no candidate has a score", 1)
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "text,a\nx,1\ny,high\n", "row 2, field 'a': expected a finite number"),
        ("t.csv", "text,a\nx,1\ny,NaN\n", "row 2, field 'a': expected a finite number"),
        ("t.csv", "text,a\nx,1\n ,1\n", "row 2, field 'text'"),
        ("t.csv", "text,a\nx,1,2\n", "row 1: 3 fields, the header has 2"),
        ("t.csv", "text,a,a\nx,1,2\n", "two columns are called 'a'"),
        ("t.csv", "words,a\nx,1\n", "no column 'text or question or prompt or query'"),
        ("t.csv", "text,a,cost:b\nx,1,2\n", "field 'cost:b'"),
        ("t.csv", "text,a,cost:a\nx,1,cheap\n", "row 1, field 'cost:a'"),
        ("t.csv", "text,split,a\nx,train,1\ny,holdout,1\n", "row 2, field 'split'"),
        ("t.csv", "text\nx\n", "no column with a candidate's scores"),
        ("t.csv", "text,a\n", "no rows"),
        ("t.csv", "", "the file is empty"),
        ("t.csv", b"text,a\nx,1\n\xff,1\n", "line 3: bytes that are not UTF-8"),
        ("t.csv", "text,candidate,score\nx,a,1\nx,,1\n", "row 2, field 'candidate'"),
        ("t.csv", "text,candidate,score\nx,a,good\n", "row 1, field 'score'"),
        ("t.jsonl", '{"text": "x", "a": 1}\n{"text": "y",\n', "line 2: broken JSON"),
        ("t.jsonl", '{"text": "x", "a": 1}\n{"text": "y", "a": NaN}\n', "line 2: broken JSON"),
        ("t.jsonl", '{"text": "x", "a": 1}\n{"a": 1}\n', "row 2, field 'text'"),
        ("t.jsonl", '{"text": ["x"], "a": 1}\n', "field 'text': expected text"),
        ("t.jsonl", '{"text": "x", "candidate": "a", "score": {"a": 1}}\n', "field 'score'"),
        ("t.jsonl", '{"text": "x", "a": 1}\n{"text": "y", "a": [1]}\n', "row 2, field 'a'"),
        ("t.jsonl", "", "no rows"),
        ("t.parquet", "not parquet", "cannot be read as parquet"),
        ("t.jsonl.gz", "not compressed at all", r"t\.jsonl\.gz"),
        ("t.xlsx", "", "unknown format"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    file = tmp_path / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=message) as caught:
        read(str(file))
    assert str(file) in str(caught.value)


def test_missing_things_are_named(tmp_path: Path) -> None:
    for path in ("absent.csv", "*.csv", "."):
        with pytest.raises(InputError, match="no such table file"):
            read(str(tmp_path / path))
    file = str(write(tmp_path / "t.csv", [{"text": "x", "a": 1}]))
    for option in ("text_column", "task_column", "split_column", "reference_column"):
        with pytest.raises(InputError, match="no column 'absent'"):
            read(file, **{option: "absent"})
    with pytest.raises(InputError, match="no scores of candidate 'z'; found a"):
        read(file, candidates=["a", "z"])


def test_wide_and_long_do_not_mix(tmp_path: Path) -> None:
    write(tmp_path / "one.csv", [{"text": "x", "a": 1}])
    write(tmp_path / "two.csv", [{"text": "x", "candidate": "a", "score": 1}])
    with pytest.raises(InputError, match="long form"):
        read(str(tmp_path))


CELL = st.one_of(st.none(), st.floats(-1e6, 1e6), st.booleans())
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(str.strip)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(TEXT, CELL), min_size=1, max_size=8))
def test_jsonl_keeps_every_known_score(
    rows: list[tuple[str, float | bool | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("t") / "t.jsonl"
    lines = [json.dumps({"text": text, "a": score, "b": 0.5}) for text, score in rows]
    file.write_text("\n".join(lines), encoding="utf-8")
    found = read(str(file)).rows.filter(pl.col("candidate") == "a")["value"].to_list()
    assert found == pytest.approx([float(score) for _, score in rows if score is not None])
