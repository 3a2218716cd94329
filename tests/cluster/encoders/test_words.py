import json
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from cluster.encoders import words
from cluster.encoders.tokens import Cut, TextTokenizer

# Blanks of all kinds, what BERT cuts out, what it puts blanks around, marks, its own tokens.
PARTS = ["plus", "four", "Sea", "xyz", "[SEP]", "[MASK]", " ", "  ", "\t", "\n", "\r", "\v", "\f"]
PARTS += ["\x85", "\xa0", "\u2028", "\u3000", "\u200b", "\0", "\ufffd", "\xad", "\u180e", "\x1c"]
PARTS += ["北", "京", "\u3400", "\uf900", "\U00020000", "한", "é", "e\u0301", "\u0301", "İ", "ς"]
PARTS += [".", "—", "$", "'", "##", "a" * 101, "🙂", "ﬁ"]
TEXTS = st.lists(st.lists(st.sampled_from(PARTS), max_size=12).map("".join), max_size=8)


def tokenizer(folder, **normaliser):
    kept = json.loads((folder / "tokenizer.json").read_text())
    kept["normalizer"] |= normaliser
    return Tokenizer.from_str(json.dumps(kept))


def ids_of(asked, texts):
    """The ids of each text, taken apart."""
    flat, lengths = asked.flat(pl.Series(texts, dtype=pl.String))
    return [part.tolist() for part in np.split(flat, np.cumsum(lengths)[:-1])] if texts else []


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=TEXTS,
    normaliser=st.fixed_dictionaries(
        {"handle_chinese_chars": st.booleans(), "strip_accents": st.sampled_from([None, False])}
    ),
    cut=st.builds(
        Cut, st.integers(6, 30), st.sampled_from(["beginning", "end"]), st.sampled_from(["", "sea"])
    ),
)
@example(["plus\x0bfour\x0cplus\x85four"], {}, Cut(30, "end", ""))
def test_by_words_is_by_texts(tiny_bert, texts, normaliser, cut):
    asked = TextTokenizer(tokenizer(tiny_bert, **normaliser), cut=cut)
    assert asked._words is not None, "this tokenizer sees words"
    expected = asked(pl.Series(texts, dtype=pl.String))
    assert ids_of(asked, texts) == expected
    assert ids_of(asked, texts) == expected, "the words are known now"


def test_with_more_words_than_are_kept_the_ids_are_the_same(tiny_bert, monkeypatch):
    asked = TextTokenizer(tokenizer(tiny_bert), cut=Cut(24, "beginning", ""))
    texts = [f"plus {n} four x{n % 7}" for n in range(60)]
    expected = asked(pl.Series(texts))
    monkeypatch.setattr(words, "WORDS_KEPT", 10)
    parts = [ids_of(asked, texts[start : start + 5]) for start in range(0, 60, 5)]
    assert list(chain.from_iterable(parts)) == expected
    # Of the words of one part too many are kept, of two no more.
    assert len(asked._words._lengths) < 40


def test_a_word_is_tokenized_once():
    asked = []

    def encode(some):
        asked.extend(some)
        return [[len(word)] * 2 for word in some]

    by_words = words.WordIds(encode, pattern=words.BETWEEN_BLANKS)
    ids, lengths = by_words(pl.Series(["a bb a", "", "bb"]))
    assert (ids.tolist(), lengths.tolist()) == ([1, 1, 2, 2, 1, 1, 2, 2], [6, 0, 2])
    by_words(pl.Series(["bb ccc a"]))
    assert sorted(asked) == ["a", "bb", "ccc"]


def test_words_that_could_not_be_tokenized_are_asked_for_again():
    fails = [True]

    def encode(some):
        if fails:
            raise RuntimeError("once")
        return [[len(word)] for word in some]

    by_words = words.WordIds(encode, pattern=words.BETWEEN_BLANKS)
    with pytest.raises(RuntimeError):
        by_words(pl.Series(["a bb"]))
    fails.clear()
    assert by_words(pl.Series(["bb a"]))[0].tolist() == [2, 1]


def test_threads_may_ask_at_once(tiny_bert, monkeypatch):
    monkeypatch.setattr(words, "WORDS_KEPT", 50)
    asked = TextTokenizer(tokenizer(tiny_bert), cut=Cut(24, "beginning", ""))
    parts = [[f"w{n + m} plus {m}" for m in range(30)] for n in range(0, 400, 10)]
    expected = [asked(pl.Series(part)) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda part: ids_of(asked, part), parts)) == expected


def test_a_tokenizer_that_sees_whole_texts_is_asked_for_texts(tiny_bert):
    kept = json.loads((tiny_bert / "tokenizer.json").read_text())
    assert words.word_pattern(Tokenizer.from_str(json.dumps(kept))) is not None
    token = {**kept["added_tokens"][0], "id": len(kept["model"]["vocab"]), "content": "two words"}
    with_blank = {**kept, "added_tokens": [*kept["added_tokens"], token]}
    by_bytes = {**kept, "pre_tokenizer": {"type": "Whitespace"}}
    for other in (with_blank, by_bytes, {**kept, "normalizer": None}):
        assert words.word_pattern(Tokenizer.from_str(json.dumps(other))) is None
