import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.routers import near_duplicates as module
from cluster.routers.near_duplicates import near_duplicates

# Few words and long texts, so that sets often overlap without being equal.
WORDS = st.lists(st.sampled_from(["a", "b", "c", "D", "e-f"]), max_size=14).map(" ".join)


def near(texts, held_out, **options):
    columns = (pl.Series(values, dtype=pl.String) for values in (texts, held_out))
    return near_duplicates(next(columns), held_out=next(columns), **options).tolist()


def grams(text):
    words = re.findall(r"[a-z0-9]+", text.lower())
    if 0 < len(words) < 3:
        return {tuple(words)}
    return set(zip(words, words[1:], words[2:], strict=False))


def is_near(text, held_out, threshold):
    mine = grams(text)
    return any(
        len(mine & theirs) / len(mine | theirs) >= threshold
        for theirs in map(grams, held_out)
        if mine & theirs
    )


@settings(deadline=None)
@given(
    st.lists(WORDS, max_size=8),
    st.lists(WORDS, max_size=8),
    st.sampled_from([0.2, 0.5, 2 / 3, 0.8, 1.0]),
)
def test_it_finds_what_comparing_all_pairs_finds(texts, held_out, threshold):
    expected = [is_near(text, held_out, threshold) for text in texts]
    assert near(texts, held_out, threshold=threshold) == expected


@settings(deadline=None)
@given(st.lists(WORDS, min_size=2, max_size=8))
def test_parts_change_nothing(texts):
    whole = near(texts, texts[::2], threshold=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAIRS_AT_ONCE", 2)
        assert near(texts, texts[::2], threshold=0.5) == whole


def test_one_changed_word_of_many_is_near_and_of_few_is_not():
    long = "the quick brown fox jumps over the lazy dog near the old stone bridge by the river at"
    held_out = [f"{long} dawn", "what is two plus two"]
    texts = [f"{long} dusk", f"{long} dawn", "what is two plus three", "something else entirely"]
    assert near(texts, held_out) == [True, True, False, False]


def test_case_and_punctuation_do_not_matter():
    assert near(["What is TWO plus two?!"], ["what is two, plus two"]) == [True]


def test_a_character_is_a_word_in_chinese():
    assert near(["北京有多少个人啊"], ["北京有多少个人啊？"]) == [True]
    assert near(["北京有多少个人啊"], ["上海的天气很好吗"]) == [False]


def test_texts_without_words_are_near_nothing():
    assert near(["", "?!", None, "hello"], ["", "?!", "hello"]) == [False, False, False, True]


def test_nothing_on_either_side():
    assert near([], ["a b c"]) == []
    assert near(["a b c"], []) == [False]
