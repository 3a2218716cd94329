import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from cluster.encoders.encoder import FittedEncoder
from cluster.encoders.memory import RememberedEncoder, VectorMemory, text_ids
from cluster.state import State


class Counting(FittedEncoder):
    """Two numbers a text; it writes down what it was asked."""

    name = "counting"
    dimensions = 2

    def __init__(self, factor=1.0):
        self.factor = factor
        self.asked = []

    def encode(self, texts):
        self.asked += texts.to_list()
        numbers = [[len(text), text.count("a")] for text in texts]
        return np.array(numbers, dtype=np.float32).reshape(-1, 2) * self.factor

    def state(self):
        return State({"factor": self.factor})

    @classmethod
    def from_state(cls, state):
        return cls(state.value("factor", float))


@given(st.lists(st.lists(st.text("ab", max_size=3), max_size=6), max_size=5))
def test_answers_are_the_encoders_and_no_text_is_asked_twice(calls):
    memory, encoder = VectorMemory(), Counting()
    remembered = RememberedEncoder(encoder, memory)
    for texts in calls:
        series = pl.Series(texts, dtype=pl.String)
        assert np.array_equal(remembered.encode(series), Counting().encode(series))
    assert sorted(encoder.asked) == sorted({text for texts in calls for text in texts})


def test_encoders_do_not_answer_for_each_other():
    memory = VectorMemory()
    texts = pl.Series(["a", "bb"])
    single = RememberedEncoder(Counting(1.0), memory).encode(texts)
    double = RememberedEncoder(Counting(2.0), memory).encode(texts)
    assert np.array_equal(double, 2 * single)


def test_forms_of_one_text_are_one_text():
    forms = pl.Series(["e\u0301t\u00e9", " \u00e9t\u00e9\r\n", "\u00e9te\u0301"])
    assert text_ids(forms).n_unique() == 1
    assert text_ids(pl.Series(["a", "A", "a\nb", "a b"])).n_unique() == 4
    encoder = Counting()
    RememberedEncoder(encoder, VectorMemory()).encode(forms)
    assert encoder.asked == ["\u00e9t\u00e9"]


def test_a_text_id_is_the_sha256_of_the_text():
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert text_ids(pl.Series([" abc\n"])).to_list() == [abc]


def test_null_is_an_empty_text():
    vectors = RememberedEncoder(Counting(), VectorMemory()).encode(pl.Series([None, "", "a"]))
    assert np.array_equal(vectors, [[0, 0], [0, 0], [1, 1]])
