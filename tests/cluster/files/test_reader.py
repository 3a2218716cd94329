import gzip
import json

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.files.batch import RAW_CHARACTERS, ROW, rows_with_text
from cluster.files.reader import read_batches, read_schema
from cluster.files.schema import require_column
from cluster.files.source import find_files

calm = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# Bytes that can never be a good row, whatever stands beside them.
JSON_GARBAGE = [
    b"{", b"}", b"[1]", b"3", b"null", b'"x"', b'{"text":"x"', b'{"text":"\xff"}', b'{"text":NaN}',
    b'{"text":"x"} {"text":"y"}', b'{"text":"\\ud800"}', b"\x00", b"text", b"{'text': 1}",
]  # fmt: skip
# A quote alone is no garbage: after `a,"open` it closes the value.
CSV_GARBAGE = [
    b"one", b"a,b,c", b'"open,b', b'a,"open', b'"a"b,c', b"\xff,b", b'a,"b\xc3"', b'a"b', b",,",
]  # fmt: skip


def read(path, **options):
    (source,) = find_files(str(path))
    batches = list(read_batches(source, **options))
    return (
        pl.concat([batch.frame for batch in batches]),
        pl.concat([batch.broken for batch in batches]),
    )


def broken_reason(path, **options):
    _, broken = read(path, **options)
    assert broken["file"].to_list() == [str(path)]
    return broken["row"][0], broken["reason"][0]


def shuffled_lines(good, garbage):
    lines = st.lists(st.sampled_from([(line, True) for line in good]), min_size=1, max_size=12)
    bad = st.lists(st.sampled_from([(line, False) for line in garbage]), max_size=5)
    return st.tuples(lines, bad).flatmap(lambda pair: st.permutations(pair[0] + pair[1]))


@calm
@given(
    lines=shuffled_lines([b'{"text":"a"}', b'{"text":"b","k":1}', b"{}"], JSON_GARBAGE),
    block=st.integers(1, 100),
    rows=st.integers(1, 20),
)
def test_broken_json_lines_are_set_aside_and_no_others(tmp_path, monkeypatch, lines, block, rows):
    monkeypatch.setattr("cluster.files.jsonl.BLOCK_BYTES", block)
    path = tmp_path / "q.jsonl"
    path.write_bytes(b"\n".join(line for line, _ in lines))
    frame, broken = read(path, rows_per_batch=rows)
    assert frame[ROW].to_list() == [i for i, (_, good) in enumerate(lines, 1) if good]
    assert broken["row"].to_list() == [i for i, (_, good) in enumerate(lines, 1) if not good]
    raw = [line.decode("utf-8", "replace") for line, good in lines if not good]
    assert broken["raw"].to_list() == raw


@calm
@given(
    lines=shuffled_lines([b"a,b", b'"x, ""y""","z\nz"', b",", b'"",1'], CSV_GARBAGE),
    block=st.integers(1, 100),
    rows=st.integers(1, 20),
)
def test_broken_csv_rows_are_set_aside_and_no_others(tmp_path, monkeypatch, lines, block, rows):
    path = tmp_path / "q.csv"
    path.write_bytes(b"text,k\n" + b"\n".join(line for line, _ in lines))
    plain = read(path)
    with monkeypatch.context() as patch:
        patch.setattr("cluster.files.stream.line_blocks.__kwdefaults__", {"block_bytes": block})
        frame, broken = read(path, rows_per_batch=rows)
    assert frame.equals(plain[0])
    assert broken.equals(plain[1])
    assert frame[ROW].to_list() == [i for i, (_, good) in enumerate(lines, 1) if good]
    assert broken["row"].to_list() == [i for i, (_, good) in enumerate(lines, 1) if not good]


def test_a_stray_quote_costs_one_row_of_a_large_file(tmp_path):
    path = tmp_path / "q.csv"
    rows = [b'%d,"question, with ""quotes""\nand lines %d"' % (i, i) for i in range(150_000)]
    rows[70_000] = b'70000,"never closed'
    path.write_bytes(b"id,text\n" + b"\n".join(rows) + b"\n")
    frame, broken = read(path)
    assert broken["row"].to_list() == [70_001]
    assert frame.height == 149_999
    assert frame["id"].to_list() == [str(i) for i in range(150_000) if i != 70_000]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "a" "b"}', "not valid JSON"),
        (b"[1, 2]", "the line is a JSON list, expected an object"),
        (b'{"text": "ab\xff"}', "byte 0xff at offset 12 of the line is not UTF-8"),
    ],
)
def test_reasons_of_json_lines(tmp_path, line, reason):
    path = tmp_path / "q.jsonl"
    path.write_bytes(b'{"text": "a"}\n' + line + b"\n")
    row, found = broken_reason(path)
    assert row == 2
    assert reason in found


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"a,b,c", "3 fields, expected 2: text, k"),
        (b'"a,b"', "1 fields, expected 2: text, k"),
        (b'"a" b,c', "a quote is not closed or has text after it"),
        (b"a,b\xff", "byte 0xff at offset 3 of the row is not UTF-8"),
    ],
)
def test_reasons_of_csv_rows(tmp_path, line, reason):
    path = tmp_path / "q.csv"
    path.write_bytes(b"text,k\na,b\n" + line + b"\n")
    row, found = broken_reason(path)
    assert row == 2
    assert reason in found


def test_a_value_that_does_not_fit_names_its_field(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"text": "a"}\n{"text": 7}\n{"text": null}\n')
    row, reason = broken_reason(path, strict_text=["text"])
    assert (row, reason) == (2, "field 'text' is a number, expected text")


def test_a_field_that_is_new_since_the_schema_was_read(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"text": "a"}\n')
    schema = read_schema(find_files(str(path))[0])
    path.write_text('{"text": "a", "new": 1}\n')
    row, reason = broken_reason(path, schema=schema)
    assert row == 1
    assert "field 'new'" in reason


def test_raw_is_cut(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text("é" * 5000 + "\n{}\n")
    _, broken = read(path)
    assert broken["raw"][0] == "é" * RAW_CHARACTERS


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("q.csv", b"text,k\n", "no rows in it"),
        ("q.jsonl", b"\n\n", "no rows in it"),
        ("q.csv", b"\n\n", "not a header"),
        ("q.csv", b'"text,k\na,b\n', "not a header"),
        ("q.csv", b"a,b,a\n1,2,3\n", "column 'a' stands twice"),
        ("q.csv", b"caf\xe9,b\n1,2\n", "header is not UTF-8"),
        ("q.csv", "text\na\n".encode("utf-16"), "is UTF-16"),
        ("q.jsonl", '{"text":"a"}\n'.encode("utf-16-le"), None),
        ("q.csv", b"__row__\n1\n", "'__row__' is reserved"),
        ("q.parquet", b"PAR1 but not really PAR1", "damaged or not Parquet"),
        ("q.jsonl.gz", b'{"text":"a"}\n', "damaged or cut short"),
        ("q.jsonl.gz", gzip.compress(b'{"text":"a"}\n' * 9999)[:-6], "damaged or cut short"),
        ("q.csv.zst", b"text\na\n", "damaged or cut short"),
    ],
)
def test_a_file_that_is_bad_as_a_whole(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    if reason is None:
        assert read(path)[0].is_empty(), "every line is broken"
        return
    with pytest.raises(InputError, match=reason) as error:
        read(path)
    assert str(path) in str(error.value)


def test_a_parquet_file_damaged_in_the_middle(tmp_path):
    path = tmp_path / "q.parquet"
    pl.DataFrame({"text": [f"question {i * 7919}" for i in range(20_000)]}).write_parquet(path)
    content = bytearray(path.read_bytes())
    content[2000:9000] = bytes(7000)
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read(path)


def test_a_line_without_end_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("cluster.files.stream.MAX_RECORD_BYTES", 1 << 20)
    path = tmp_path / "q.jsonl"
    path.write_bytes(b"x" * (3 << 20))
    with pytest.raises(InputError, match="longer than 1 MiB"):
        read(path)


@pytest.mark.parametrize("name", ["q.jsonl", "q.parquet", "q.csv"])
def test_rows_without_text_are_broken(tmp_path, name):
    path = tmp_path / name
    frame = pl.DataFrame({"text": ["a", None, " \n\t", "b"], "k": [1, 2, 3, 4]})
    getattr(frame, {"q.jsonl": "write_ndjson", "q.csv": "write_csv"}.get(name, "write_parquet"))(
        path
    )
    (batch,) = read_batches(find_files(str(path))[0])
    found = rows_with_text(batch, text_column="text")
    assert found.frame["text"].to_list() == ["a", "b"]
    assert found.frame.columns == batch.frame.columns
    assert found.broken["row"].to_list() == [2, 3]
    assert found.broken["file"].to_list() == [str(path)] * 2
    assert found.broken["reason"].to_list() == [
        "field 'text' is missing or null, expected a text",
        "field 'text' is blank, expected a text",
    ]
    assert int(json.loads(found.broken["raw"][0])["k"]) == 2


def test_a_text_column_of_numbers_has_no_text(tmp_path):
    path = tmp_path / "q.parquet"
    pl.DataFrame({"text": [1, None]}).write_parquet(path)
    (batch,) = read_batches(find_files(str(path))[0])
    found = rows_with_text(batch, text_column="text")
    assert found.frame.is_empty()
    assert found.broken["reason"][0] == "field 'text' is Int64, expected a text"


def test_a_list_is_no_text(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"text":["a"]}\n')
    (batch,) = read_batches(find_files(str(path))[0])
    found = rows_with_text(batch, text_column="text")
    assert found.broken["reason"][0] == "field 'text' is a list or an object, expected a text"


def test_require_column_names_the_nearest(tmp_path):
    path = tmp_path / "q.csv"
    path.write_text("Text,task\na,b\n")
    schema = read_schema(find_files(str(path))[0])
    require_column(schema, column="Text", flag="--text-column")
    with pytest.raises(InputError) as error:
        require_column(schema, column="txt", flag="--text-column")
    for part in (str(path), "'txt'", "did you mean 'Text'?", "Text, task", "--text-column"):
        assert part in str(error.value)
