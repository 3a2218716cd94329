"""Identity and split of a query: pure functions of what it says."""

import unicodedata
from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.query import (
    MAX_CALIBRATION_SHARE,
    SPLITS,
    digest,
    imported_query_id,
    imported_split,
    normalise_text,
    normalise_texts,
    query_id,
    split_of,
    with_identity,
)

# Letters with marks, Hangul, Arabic, blanks and line ends are where normal forms differ.
CHARACTERS = st.characters(exclude_categories=["Cs", "Cn"])
TEXTS = st.text(CHARACTERS, max_size=30) | st.text("aé\u0301\u0323가ᄀ \r\n\t")


@given(TEXTS)
def test_normalising_again_changes_nothing(text: str) -> None:
    once = normalise_text(text)
    assert normalise_text(once) == once


@given(TEXTS)
def test_composed_and_decomposed_are_one_text(text: str) -> None:
    composed = normalise_text(unicodedata.normalize("NFC", text))
    assert normalise_text(unicodedata.normalize("NFD", text)) == composed
    assert composed == unicodedata.normalize("NFC", composed)


@given(st.lists(st.text("ab c", max_size=5), max_size=5))
def test_line_ends_of_all_systems_are_one_text(lines: list[str]) -> None:
    unix = normalise_text("\n".join(lines))
    assert normalise_text("\r\n".join(lines)) == normalise_text("\r".join(lines)) == unix
    assert "\r" not in unix


@given(TEXTS, st.text(" \t\r\n\u00a0\u3000", max_size=4), st.text(" \t\r\n\u2003", max_size=4))
def test_outer_blanks_do_not_count_and_inner_ones_do(text: str, before: str, after: str) -> None:
    assert normalise_text(before + text + after) == normalise_text(text)
    assert (
        normalise_text("a" + before + "x")
        == "a" + before.replace("\r\n", "\n").replace("\r", "\n") + "x"
    )


@given(st.lists(TEXTS | st.none(), max_size=8))
def test_a_column_is_normalised_as_its_texts_are(texts: list[str | None]) -> None:
    one_by_one = [None if text is None else normalise_text(text) for text in texts]
    assert normalise_texts(pl.Series(texts, dtype=pl.String)).to_list() == one_by_one


def test_a_column_of_nothing_but_null_has_no_type_and_is_fine() -> None:
    assert normalise_texts(pl.Series([None, None])).to_list() == [None, None]


def test_a_long_run_of_marks_keeps_all_of_them_in_canonical_order() -> None:
    marks = 64_000
    text = normalise_text("a" + "\u0301\u0323" * marks)
    assert text == "\u1ea1" + "\u0323" * (marks - 1) + "\u0301" * marks


def test_a_digest_keeps_the_borders_of_its_parts() -> None:
    parts = [("a", "bc"), ("ab", "c"), ("abc",), ("abc", ""), ("", "abc"), ('a","bc',), ("a\nbc",)]
    assert len({digest(part) for part in parts}) == len(parts)
    assert digest(["1"]) != digest([1])


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_digests_are_equal_only_for_equal_parts(one: list[str], other: list[str]) -> None:
    assert (digest(one) == digest(other)) == (one == other)


def test_identities_stay_what_they_were() -> None:
    """A lake outlives the code: these are the ids that are in lakes already."""
    known = "0653755f76dcd1eb19d4f258a61d4bf8a5c081e9c20f1e6102c9dda06c8cad8f"
    assert query_id("2+2?", task="math") == known
    splits = ["train", "train", "validation", "train", "train", "test", "calibration", "test"]
    assert [split_of(f"query {n}") for n in range(8)] == splits


def test_an_ingested_query_is_its_task_and_text() -> None:
    ids = {query_id(text, task=task) for text in ("a", "b", "") for task in ("", "a", "t")}
    assert len(ids) == 9


def test_each_part_of_an_imported_query_tells_it_apart() -> None:
    same = {"dataset": "d", "split": "test", "task": "t", "occurrence": 0}
    others = [
        {**same, "dataset": "e"},
        {**same, "split": "train"},
        {**same, "task": "u"},
        {**same, "occurrence": 1},
    ]
    ids = {imported_query_id("text", **kwargs) for kwargs in [same, *others]}
    ids.add(imported_query_id("other text", **same))
    assert len(ids) == 6
    assert query_id("text", task="t") not in ids


@given(st.permutations([f"query {n}" for n in range(12)]))
def test_order_of_arrival_never_matters(texts: list[str]) -> None:
    def facts(arriving: list[str]) -> dict[str, tuple[str, str]]:
        frame = pl.DataFrame({"task": ["t"] * len(arriving), "text": arriving})
        rows = with_identity(frame).select("text", "query_id", "split").iter_rows()
        return {text: (identity, split) for text, identity, split in rows}

    first, rest = texts[:5], texts[5:]
    assert facts(first) | facts(rest) == facts(sorted(texts))


def test_no_queries_have_no_identities() -> None:
    empty = with_identity(pl.DataFrame(schema={"task": pl.String, "text": pl.String}))
    assert empty.schema["query_id"] == empty.schema["split"] == pl.String


N = 20_000
NUMBERED = [f"numbered query {n}" for n in range(N)]


def assert_share(count: int, *, share: float, of: int = N) -> None:
    """Within five standard deviations of a binomial."""
    assert abs(count - share * of) <= 5 * (of * share * (1 - share)) ** 0.5


def test_splits_have_their_shares() -> None:
    counts = Counter(split_of(text) for text in NUMBERED)
    assert set(counts) == set(SPLITS)
    for split, share in zip(SPLITS, (0.7, 0.1, 0.1, 0.1), strict=True):
        assert_share(counts[split], share=share)


def test_the_split_does_not_depend_on_the_task() -> None:
    """The same question under two tasks must not stand in train and test at once."""
    frame = pl.DataFrame({"task": ["a", "b"] * 50, "text": [f"q{n // 2}" for n in range(100)]})
    splits = with_identity(frame).group_by("text").agg(pl.col("split").n_unique())
    assert splits["split"].to_list() == [1] * 50


@given(TEXTS, st.floats(0, MAX_CALIBRATION_SHARE))
def test_only_train_is_divided(text: str, share: float) -> None:
    for split in ("validation", "calibration", "test"):
        assert imported_split(text, split=split, calibration_share=share) == split


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, MAX_CALIBRATION_SHARE])
def test_calibration_is_cut_from_train_and_never_from_validation(share: float) -> None:
    splits = [imported_split(text, split="train", calibration_share=share) for text in NUMBERED]
    counts = Counter(splits)
    assert_share(counts["validation"], share=0.1)
    assert_share(counts["calibration"], share=share)
    without = [imported_split(text, split="train") for text in NUMBERED]
    was_validation = [split == "validation" for split in without]
    assert [split == "validation" for split in splits] == was_validation
    by_hash = [split_of(text) == "validation" for text in NUMBERED]
    assert was_validation == by_hash


def test_a_larger_calibration_share_holds_the_smaller_one() -> None:
    def chosen(share: float) -> set[str]:
        return {
            text
            for text in NUMBERED[:2000]
            if imported_split(text, split="train", calibration_share=share) == "calibration"
        }

    assert chosen(0.05) < chosen(0.1) < chosen(0.4) < chosen(MAX_CALIBRATION_SHARE)
