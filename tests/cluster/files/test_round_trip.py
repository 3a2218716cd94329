import itertools
import json

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cluster.errors import InputError
from cluster.files.batch import ROW
from cluster.files.reader import read_batches, read_schema
from cluster.files.source import find_files
from cluster.files.writer import write_shard

TEXT_NAMES = [
    f"q.{kind}{packed}"
    for kind, packed in itertools.product(("jsonl", "csv", "tsv"), ("", ".gz", ".zst"))
]
NAMES = ["q.parquet", *TEXT_NAMES]

texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ['"', '""', "a,b", "a\tb", "a\nb", "\r\n", "\r", "", " ", "\ufeff", '{"a":1}', "null", "\x00"]
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
calm = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read(path, **options):
    (source,) = find_files(str(path))
    batches = list(read_batches(source, **options))
    assert all(batch.broken.is_empty() for batch in batches), batches[0].broken.rows()
    frame = pl.concat([batch.frame for batch in batches])
    assert frame[ROW].is_sorted()
    return frame, batches


@pytest.mark.parametrize("name", NAMES)
@calm
@given(rows=st.lists(st.tuples(texts, st.none() | texts, texts), min_size=1, max_size=8))
def test_texts_survive(tmp_path, name, rows):
    frame = pl.DataFrame(rows, schema=["text", 'odd "na,me"', "z"], orient="row").cast(pl.String)
    write_shard(frame, str(tmp_path / name))
    found, _ = read(tmp_path / name)
    assert_frame_equal(found.drop(ROW), frame)


@pytest.mark.parametrize("name", ["q.parquet", "q.jsonl", "q.jsonl.zst"])
@calm
@given(
    rows=st.lists(
        st.tuples(
            texts,
            st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=False, allow_infinity=False),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_types_survive_where_the_format_has_them(tmp_path, name, rows):
    schema = {"text": pl.String, "n": pl.Int64, "x": pl.Float64, "b": pl.Boolean}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    write_shard(frame, str(tmp_path / name))
    assert_frame_equal(read(tmp_path / name)[0].drop(ROW), frame)


@calm
@given(values=st.lists(st.dictionaries(texts, json_values, min_size=1), min_size=1, max_size=8))
def test_nested_json_comes_out_as_it_went_in(tmp_path, values):
    path, again = tmp_path / "q.jsonl", tmp_path / "again.jsonl"
    path.write_text("".join(json.dumps({"text": "t", "chat": v}) + "\n" for v in values))
    _, (batch,) = read(path)
    assert batch.json_columns == ("chat",)
    assert [json.loads(text) for text in batch.frame["chat"]] == values
    write_shard(batch.frame, str(again), json_columns=batch.json_columns)
    lines = again.read_bytes().decode().removesuffix("\n").split("\n")
    assert [json.loads(line) for line in lines] == [{"text": "t", "chat": v} for v in values]


@pytest.mark.parametrize("name", ["q.jsonl", "q.csv.gz", "q.parquet"])
@pytest.mark.parametrize("rows_per_batch", [1, 7, 50, 1000])
def test_batches_cover_exactly_the_rows_asked_for(tmp_path, monkeypatch, name, rows_per_batch):
    monkeypatch.setattr("cluster.files.jsonl.BLOCK_BYTES", 100)
    monkeypatch.setattr("cluster.files.stream.line_blocks.__kwdefaults__", {"block_bytes": 100})
    frame = pl.DataFrame({"text": [f'question "{i}"\n{"x" * (i % 60)}' for i in range(200)]})
    write_shard(frame, str(tmp_path / name))
    found, batches = read(tmp_path / name, rows_per_batch=rows_per_batch)
    assert found["text"].to_list() == frame["text"].to_list()
    assert found[ROW].to_list() == list(range(1, 201))
    heights = [batch.frame.height for batch in batches]
    assert heights[:-1] == [rows_per_batch] * (len(heights) - 1)
    assert 0 < heights[-1] <= rows_per_batch
    assert [batch.first_row for batch in batches] == list(range(1, 201, rows_per_batch))


def test_s3_equals_local(tmp_path, bucket):
    frame = pl.DataFrame({"text": ["a", 'b "c"\nd', "é"], "n": [1, 2, 3]})
    for name in NAMES:
        write_shard(frame, f"{bucket}/out/{name}")
        write_shard(frame, str(tmp_path / name))
        (remote,), (local,) = find_files(f"{bucket}/out/{name}"), find_files(str(tmp_path / name))
        assert remote.digest() == local.digest()
        assert_frame_equal(next(read_batches(remote)).frame, next(read_batches(local)).frame)


def test_a_line_of_ten_megabytes(tmp_path):
    texts = ["short", "long " * 2_000_000, "short"]
    for name in ("q.jsonl.gz", "q.csv"):
        write_shard(pl.DataFrame({"text": texts, "k": ["1", "2", "3"]}), str(tmp_path / name))
        assert read(tmp_path / name)[0]["text"].to_list() == texts


def test_marks_line_ends_and_blank_lines_do_not_matter(tmp_path):
    (tmp_path / "q.csv").write_bytes(b'\xef\xbb\xbf\r\ntext,k\r\na,1\r\n\r\n"b\r\nc",2')
    (tmp_path / "q.jsonl").write_bytes(
        b'\xef\xbb\xbf{"text":"a","k":"1"}\r\n\r\n  \n{"text":"b\\r\\nc","k":"2"}'
    )
    csv, jsonl = read(tmp_path / "q.csv")[0], read(tmp_path / "q.jsonl")[0]
    assert csv.drop(ROW).rows() == jsonl.drop(ROW).rows() == [("a", "1"), ("b\r\nc", "2")]
    assert csv[ROW].to_list() == [1, 2], "CSV counts records"
    assert jsonl[ROW].to_list() == [1, 4], "JSON Lines counts lines"


def test_csv_values_stay_the_text_they_are(tmp_path):
    (tmp_path / "q.csv").write_text('text,id\n1.50,007\n"",\n')
    assert read(tmp_path / "q.csv")[0].drop(ROW).rows() == [("1.50", "007"), ("", None)]


def test_a_type_is_settled_over_the_whole_file(tmp_path, monkeypatch):
    monkeypatch.setattr("cluster.files.jsonl.BLOCK_BYTES", 64)
    lines = [{"text": "t", "a": 1, "b": 1, "c": None}] * 50
    lines += [{"text": "t", "a": 1.5, "b": {"x": 'q"'}, "late": [2**70]}]
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    frame, batches = read(path, rows_per_batch=10)
    assert frame.schema == {
        "text": pl.String,
        "a": pl.Float64,
        "b": pl.String,
        "c": pl.String,
        "late": pl.String,
        ROW: pl.Int64,
    }
    assert frame.row(0) == ("t", 1.0, "1", None, None, 1)
    assert frame.row(50) == ("t", 1.5, '{"x":"q\\""}', None, f"[{2**70}]", 51)
    assert batches[0].json_columns == ("late",), "a mixed column is text, not JSON"


def test_large_numbers_lose_nothing(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"a":9007199254740993,"b":9007199254740993}\n{"a":1,"b":1.5}\n')
    frame, _ = read(path)
    assert frame["a"].to_list() == [9007199254740993, 1]
    assert frame["b"].to_list() == ["9007199254740993", "1.5"]


def test_columns_as_text_of_every_type(tmp_path):
    frame = pl.DataFrame({"reference": [1, None], "messages": [[{"role": 'us"er'}], None]})
    for name in ("q.parquet", "q.jsonl"):
        write_shard(frame, str(tmp_path / name))
        found, _ = read(tmp_path / name, columns_as_text=["reference", "messages", "absent"])
        assert found["reference"].to_list() == ["1", None]
        assert found["messages"].to_list() == ['[{"role":"us\\"er"}]', None]


def test_the_schema_says_what_batches_hold(tmp_path):
    frame = pl.DataFrame({"text": ["t"], "n": [1], "chat": [[{"role": "user"}]]})
    for name in ("q.parquet", "q.jsonl", "q.csv"):
        write_shard(frame, str(tmp_path / name))
        (source,) = find_files(str(tmp_path / name))
        schema = read_schema(source)
        assert next(read_batches(source, schema=schema)).frame.drop(ROW).schema == schema.dtypes


def test_bytes_do_not_fit_a_text_format(tmp_path):
    frame = pl.DataFrame({"raw": [b"\xff"]})
    write_shard(frame, str(tmp_path / "q.parquet"))
    assert read(tmp_path / "q.parquet")[0]["raw"].to_list() == [b"\xff"]
    for name in ("q.csv", "q.jsonl"):
        with pytest.raises(InputError, match=r"column 'raw' holds bytes"):
            write_shard(frame, str(tmp_path / name))
        assert not (tmp_path / name).exists()


def test_a_shard_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "q.csv"
    write_shard(pl.DataFrame({"a": ["old"]}), str(path))
    before = path.read_bytes()
    with pytest.raises(InputError):
        write_shard(pl.DataFrame({"a": [b"new"]}), str(path))
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["q.csv"]
