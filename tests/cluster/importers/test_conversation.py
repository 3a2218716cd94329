import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.importers.conversation import first_turn

TEXT = st.text(st.characters(exclude_categories=("Cs",))).filter(lambda t: t.lstrip()[:1] != "[")


@given(first=TEXT, more=st.lists(st.one_of(st.none(), TEXT)))
def test_every_published_shape_says_the_same(first, more):
    turns = [{"role": "user", "content": text} for text in (first, *more)]
    parts = [{"role": "user", "content": [{"type": "text", "text": first}, {"type": "image"}]}]
    answered = [{"role": "system", "content": "be kind"}, turns[0], {"role": "assistant"}]
    for said in (first, [first, *more], turns, parts, answered):
        assert first_turn(said) == first
        if not isinstance(said, str):
            assert first_turn(json.dumps(said)) == first


@pytest.mark.parametrize(
    "said", [None, "", [], "[]", [None, "later"], [{"role": "assistant", "content": "hi"}], 7]
)
def test_nothing_is_said(said):
    assert first_turn(said) == ""


@pytest.mark.parametrize("text", ["[not JSON", "[1, 2] and more", '["a"'])
def test_a_text_that_begins_with_a_bracket_is_a_text(text):
    assert first_turn(text) == text


def test_half_a_surrogate_pair_is_replaced():
    assert first_turn('["so \\ud83d"]') == "so \ufffd"
