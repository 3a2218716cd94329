import json

import polars as pl
import pytest

from cluster.errors import InputError
from cluster.files.batch import ROW, Batch, BrokenRow, broken_frame
from cluster.files.quarantine import Quarantine
from cluster.storage import Storage


def batch(good, bad):
    rows = [BrokenRow(good + i + 1, f"reason {i}", b"raw") for i in range(bad)]
    frame = pl.DataFrame({"text": ["t"] * good, ROW: list(range(1, good + 1))})
    return Batch("/d/q.csv", frame, broken_frame("/d/q.csv", rows=rows), 1)


def run(uri, *batches, **options):
    with Quarantine(uri, **options) as quarantine:
        for one in batches:
            quarantine.add(one)
        quarantine.finish()
    return quarantine


def test_within_the_budget_the_rows_are_kept_with_their_reasons(tmp_path):
    path = tmp_path / "deep" / "broken.jsonl"
    quarantine = run(str(path), batch(95, 2), batch(100, 3))
    assert (quarantine.broken, quarantine.rows) == (5, 200)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 5
    assert rows[0] == {"file": "/d/q.csv", "row": 96, "reason": "reason 0", "raw": "raw"}
    assert [item.name for item in path.parent.iterdir()] == ["broken.jsonl"]


def test_the_quarantine_file_is_as_readable_as_any_other(tmp_path):
    path = tmp_path / "broken.jsonl"
    run(str(path), batch(100, 1))
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize(
    ("good", "bad", "share", "passes"),
    [
        (95, 5, 0.05, True),
        (94, 6, 0.05, False),
        (2, 1, 0.05, False),
        (2, 1, 0.5, True),
        (10**5, 1, 0.0, False),
        (0, 1, 1.0, False),
        (5, 0, 0.0, True),
    ],
)
def test_the_budget_is_a_share(tmp_path, good, bad, share, passes):
    path = tmp_path / "broken.jsonl"
    if passes:
        run(str(path), batch(good, bad), max_error_share=share)
    else:
        within = share == 1.0
        words = "no row can be used" if within else f"{bad} of {good + bad} rows are broken"
        with pytest.raises(InputError, match=words):
            run(str(path), batch(good, bad), max_error_share=share)
    assert path.exists() == bool(bad)


def test_the_message_names_the_first_rows_and_the_file(tmp_path):
    path = tmp_path / "broken.jsonl"
    with pytest.raises(InputError) as error:
        run(str(path), batch(10, 5))
    text = str(error.value)
    assert "/d/q.csv row 11: reason 0: 'raw'" in text
    assert "row 13" in text
    assert "row 14" not in text
    assert "and 2 more" in text
    assert str(path) in text


def test_an_older_file_goes_when_nothing_is_broken(tmp_path):
    path = tmp_path / "broken.jsonl"
    path.write_text("old\n")
    run(str(path), batch(5, 0))
    assert not path.exists()


def test_reading_stops_when_it_is_hopeless(tmp_path):
    path = tmp_path / "broken.jsonl"
    with Quarantine(str(path), max_error_share=0.05) as quarantine:
        quarantine.add(batch(1, 9_000))
        with pytest.raises(InputError, match="rows are broken"):
            quarantine.add(batch(1, 2_000))


def test_nothing_is_written_before_the_end(tmp_path):
    path = tmp_path / "broken.jsonl"
    with Quarantine(str(path)) as quarantine:
        quarantine.add(batch(100, 1))
    assert list(tmp_path.iterdir()) == []


def test_s3_equals_local(tmp_path, bucket):
    run(f"{bucket}/q/broken.jsonl", batch(100, 3))
    run(str(tmp_path / "broken.jsonl"), batch(100, 3))
    remote = Storage.at(bucket).read_bytes(f"{bucket}/q/broken.jsonl")
    assert remote == (tmp_path / "broken.jsonl").read_bytes()
