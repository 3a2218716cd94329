import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.importers.score_table import (
    ROW_SCHEMA,
    checked_texts,
    named_task_and_split,
    table_of,
)

NAMES = st.text("abtrainesX9_-", min_size=1, max_size=14)


def queries(*texts: str) -> pl.DataFrame:
    return pl.DataFrame({"row": range(len(texts)), "text": texts}).with_columns(
        split=pl.lit("test"), task=pl.lit("sums")
    )


def cells(*values: float | None) -> pl.DataFrame:
    return pl.DataFrame({"row": range(len(values)), "value": values}).with_columns(
        candidate=pl.lit("a"), scorer=pl.lit("accuracy"), weight=pl.lit(1.0)
    )


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("arc_challenge_test", ("arc_challenge", "test")),
        ("gsm8k-train", ("gsm8k", "train")),
        ("arc-challenge_train", ("arc_challenge", "train")),
        ("train", ("", "train")),
        ("mbpp", ("mbpp", "test")),
        ("cmmlu_dev", ("cmmlu", "validation")),
        ("contest", ("contest", "test")),
        ("unconstrain", ("unconstrain", "test")),
        ("latest_train", ("latest", "train")),
    ],
)
def test_task_and_split_come_from_the_name(stem: str, expected: tuple[str, str]) -> None:
    assert named_task_and_split(stem) == expected


@given(task=NAMES, split=st.sampled_from(["train", "test"]), mark=st.sampled_from("-_"))
def test_train_and_test_file_of_a_task_agree_on_its_name(task: str, split: str, mark: str) -> None:
    assert named_task_and_split(f"{task}{mark}{split}") == (task.replace("-", "_"), split)


def test_repetitions_of_a_text_stay_distinct_in_file_order() -> None:
    table = table_of(queries("x", "y", "x", "x"), cells(0.1, 0.2, 0.3, 0.4))
    assert table.rows.select("text", "occurrence", "value").rows() == [
        ("x", 0, 0.1),
        ("y", 0, 0.2),
        ("x", 1, 0.3),
        ("x", 2, 0.4),
    ]
    assert dict(table.rows.schema) == ROW_SCHEMA


def test_queries_without_any_score_are_counted_and_keep_the_numbering() -> None:
    table = table_of(queries("x", "x", "y"), cells(None, 1.0, None))
    assert table.rows["occurrence"].to_list() == [1]
    assert table.left_out.rows() == [("test", "sums", "no candidate has a score", 2)]


def test_counts_say_queries_not_rows_of_scorers() -> None:
    both = pl.concat([cells(1.0, 0.0), cells(0.7, 0.0).with_columns(scorer=pl.lit("p"))])
    table = table_of(queries("x", "x"), both)
    assert table.counts().rows() == [("sums", "test", "a", 2)]
    assert table.queries.height == 2
    assert table.candidates == ["a"]


@given(st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=20))
def test_key_is_unique_whatever_repeats(texts: list[str]) -> None:
    table = table_of(queries(*texts), cells(*[1.0] * len(texts)))
    assert table.rows.select("split", "task", "text", "occurrence").is_unique().all()
    assert sorted(table.rows["text"].to_list()) == sorted(texts)


@pytest.mark.parametrize("text", ["", " \n\t", None, 5, "half \ud83d"])
def test_row_without_text_is_named(text: object) -> None:
    with pytest.raises(InputError, match=r"somewhere\.csv, row 2, field 'prompt'"):
        checked_texts(["fine", text], where="somewhere.csv", name="prompt")


def test_texts_are_normalised() -> None:
    assert checked_texts([" e\u0301\r\nb "], where="f", name="text") == ["\u00e9\nb"]
