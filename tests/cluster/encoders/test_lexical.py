import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.encoders import lexical as lexical_module
from cluster.encoders import load_encoder
from cluster.encoders.lexical import FittedLexical, LexicalEncoder, count_terms
from cluster.errors import InputError
from cluster.state import State

CORPUS = pl.Series(
    [
        *(f"What is {n} plus {n + 3}?" for n in range(20)),
        *(f"Write the Roman numeral {n}{n} in words, please." for n in "ivxlc"),
        *(f"请问北京有多少个{n}" for n in "人车树楼"),
    ]
)
FITTED = LexicalEncoder(dimensions=8, min_texts=2).fit(CORPUS, seed=0)


def test_the_same_texts_and_seed_give_the_same_encoder():
    again = LexicalEncoder(dimensions=8, min_texts=2).fit(CORPUS, seed=0)
    other = LexicalEncoder(dimensions=8, min_texts=2).fit(CORPUS.head(15), seed=0)
    assert again.encoder_id == FITTED.encoder_id != other.encoder_id


def test_a_stored_encoder_gives_the_same_vectors_bit_for_bit():
    restored = FittedLexical.from_state(FITTED.state())
    assert np.array_equal(restored.encode(CORPUS), FITTED.encode(CORPUS))
    assert restored.encoder_id == FITTED.encoder_id


def test_vectors_are_float32_of_length_one_or_zero():
    vectors = FITTED.encode(pl.Series(["What is 3 plus 4?", "", None, " \n"]))
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0, 0, 0])


def test_no_texts_give_no_vectors():
    assert FITTED.encode(pl.Series([], dtype=pl.String)).shape == (0, 8)


def test_similar_questions_are_nearer_than_others():
    near, like, far = FITTED.encode(
        pl.Series(["What is 31 plus 12?", "what is 7 plus 8?", "北京有多少人"])
    )
    assert near @ like > near @ far + 0.3


def test_vocabulary_is_readable_one_term_a_line():
    lines = FITTED.state().files["vocabulary.txt"].splitlines()
    assert {"what", "plus", "0", "00", "?", "京", "4 letters"} <= set(lines)
    assert not {"北京", "10", "12"} & set(lines)


@given(st.lists(st.text(alphabet="ab C京7?\n", max_size=12), max_size=6))
def test_terms_are_counted_as_one_would_by_hand(texts):
    vocabulary = ["京", "a", "ab", "0", "?", "1 letters", "3 letters"]
    words = [re.findall(r"[abc]+|京|0+|\?", text.lower().replace("7", "0")) for text in texts]
    named = [[w if w in vocabulary else f"{len(w)} letters" for w in found] for found in words]
    counts = count_terms(pl.Series(texts, dtype=pl.String), vocabulary)
    assert counts.toarray().tolist() == [[n.count(term) for term in vocabulary] for n in named]
    assert counts.has_canonical_format


def test_a_rare_word_is_known_by_its_length():
    short, long = FITTED.encode(pl.Series(["qq", "qqqqqqqq"]))
    same = FITTED.encode(pl.Series(["zz"]))[0]
    assert np.array_equal(short, same)
    assert not np.array_equal(short, long)


def test_numbers_are_known_by_their_digits():
    vectors = FITTED.encode(pl.Series(["plus 12", "plus 99", "plus 7"]))
    assert np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])


@settings(deadline=None)
@given(st.lists(st.text(), max_size=6))
def test_a_vector_does_not_depend_on_the_other_texts(texts):
    together = FITTED.encode(pl.Series(texts, dtype=pl.String))
    alone = [FITTED.encode(pl.Series([text], dtype=pl.String))[0] for text in texts]
    assert np.isfinite(together).all()
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))


def test_slices_change_nothing(monkeypatch):
    whole = FITTED.encode(CORPUS)
    monkeypatch.setattr(lexical_module, "SLICE_BYTES", 50)
    assert np.array_equal(FITTED.encode(CORPUS), whole)
    assert LexicalEncoder(dimensions=8, min_texts=2).fit(CORPUS, seed=0).encoder_id == (
        FITTED.encoder_id
    )


def test_a_large_corpus_is_fitted_on_a_sample():
    sampled = LexicalEncoder(max_fit_texts=5, min_texts=1).fit(CORPUS, seed=1)
    assert sampled.dimensions <= 5
    assert sampled.encode(CORPUS).shape == (len(CORPUS), sampled.dimensions)


def test_max_terms_keeps_the_most_frequent():
    small = LexicalEncoder(max_terms=3).fit(CORPUS, seed=0)
    words = [term for term in small.vocabulary if " " not in term]
    assert sorted(words) == ["?", "is", "plus"]


@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_texts_without_words_are_refused(texts):
    with pytest.raises(InputError, match="no text holds a word"):
        LexicalEncoder().fit(pl.Series(texts, dtype=pl.String), seed=0)


@pytest.mark.parametrize(
    "state",
    [
        State({}, {"terms": np.zeros((2, 3), np.float32)}, {}),
        State({}, {}, {"vocabulary.txt": "a\nb\n"}),
        State({}, {"terms": np.zeros((2, 3), np.float32)}, {"vocabulary.txt": "a\na\n"}),
        State({}, {"terms": np.zeros((3, 3), np.float32)}, {"vocabulary.txt": "a\nb\n"}),
        State({}, {"terms": np.zeros((2, 3), np.int64)}, {"vocabulary.txt": "a\nb\n"}),
    ],
)
def test_a_damaged_state_is_refused(state):
    with pytest.raises(InputError, match="damaged checkpoint"):
        FittedLexical.from_state(state)


def test_it_is_found_by_name_and_unknown_settings_are_refused():
    assert load_encoder("lexical", dimensions=3) == LexicalEncoder(dimensions=3)
    with pytest.raises(InputError, match="dims"):
        load_encoder("lexical", dims=3)
