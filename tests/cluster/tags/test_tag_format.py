"""The form of a tag: spelling does not count, names of languages do."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.tags.tag_format import cleaned, stemmed


def one(text: str) -> str:
    return str(cleaned(pl.Series([text]))[0])


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Problem-Solving", "problem solving"),
        ("  data_analysis; ", "data analysis"),
        ("C++ (language)", "c++ language"),
        ("C#", "c#"),
        ("a+b", "a b"),
        ("🔥 hot 🔥", "hot"),
        ("🔥", ""),
        ("", ""),
        ("数学 Задача", "数学 задача"),
        ("ＦＵＬＬ", "full"),
        ("naïve", "naïve"),
        ("#1", "1"),
    ],
)
def test_lower_case_and_blanks(raw: str, clean: str) -> None:
    assert one(raw) == clean


def test_english_words_are_stemmed_and_others_stay() -> None:
    found = stemmed(pl.Series(["solving problems", "solve problem", "", "задачи", "c++ coding"]))
    assert found.to_list() == ["solv problem", "solv problem", "", "задачи", "c++ code"]


@given(st.text(max_size=60))
def test_a_clean_tag_is_clean(text: str) -> None:
    assert one(one(text)) == one(text)


def test_no_tags() -> None:
    assert stemmed(cleaned(pl.Series([], dtype=pl.String))).to_list() == []
