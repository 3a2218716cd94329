import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.importers.long_form import long_table

ROWS = st.lists(
    st.tuples(st.sampled_from("xy"), st.sampled_from(["1", "2", None]), st.sampled_from("ab")),
    min_size=1,
    max_size=14,
)


def rows(*cells: tuple[str, str | None, str], **more: object) -> pl.DataFrame:
    """Cells of (text, key, candidate); the values are their numbers."""
    return pl.DataFrame(
        {
            "text": [text for text, _, _ in cells],
            "key": pl.Series([key for _, key, _ in cells], dtype=pl.String),
            "candidate": [candidate for _, _, candidate in cells],
            "value": [float(number) for number in range(len(cells))],
        }
    ).with_columns(
        split=pl.lit("test"), task=pl.lit("sums"), scorer=pl.lit("accuracy"), weight=pl.lit(1.0)
    )


def test_rows_of_one_key_are_of_one_query() -> None:
    table = long_table(rows(("x", "1", "a"), ("x", "2", "a"), ("x", "2", "b"), ("x", "1", "b")))
    found = table.rows.select("occurrence", "candidate", "value").rows()
    assert sorted(found) == [(0, "a", 0.0), (0, "b", 3.0), (1, "a", 1.0), (1, "b", 2.0)]


def test_a_key_that_lacks_a_candidate_does_not_take_anothers_row() -> None:
    table = long_table(rows(("x", "1", "a"), ("x", "2", "b")))
    assert table.rows.select("occurrence", "candidate").rows() == [(0, "a"), (1, "b")]


def test_without_keys_the_nth_row_of_a_candidate_is_of_the_nth_query() -> None:
    table = long_table(rows(("x", None, "a"), ("x", None, "a"), ("x", None, "b")))
    assert table.rows.select("occurrence", "candidate").rows() == [(0, "a"), (1, "a"), (0, "b")]


@given(ROWS)
def test_no_row_is_lost_and_no_cell_has_two(cells: list[tuple[str, str | None, str]]) -> None:
    table = long_table(rows(*cells))
    assert sorted(table.rows["value"]) == [float(number) for number in range(len(cells))]
    assert table.rows.select("text", "occurrence", "candidate").is_unique().all()
    numbers = table.queries.group_by("text").agg(pl.col("occurrence").sort())
    for occurrences in numbers["occurrence"].to_list():
        assert occurrences == list(range(len(occurrences)))


def test_a_query_without_any_score_is_counted() -> None:
    cells = rows(("x", "1", "a"), ("y", "2", "a"), ("y", "2", "b"))
    unscored = cells.with_columns(value=pl.when(pl.col("text") == "x").then(pl.col("value")))
    table = long_table(unscored, notes=["said"])
    assert table.rows["text"].to_list() == ["x"]
    assert table.left_out.rows() == [("test", "sums", "no candidate has a score", 1)]
    assert table.notes == ("said",)


@pytest.mark.parametrize("split", ["train", "test"])
def test_splits_are_numbered_apart(split: str) -> None:
    both = [
        rows(("x", "1", "a")),
        rows(("x", "2", "a")).with_columns(split=pl.lit(split)),
    ]
    table = long_table(pl.concat(both))
    assert table.rows["occurrence"].to_list() == ([0, 1] if split == "test" else [0, 0])
