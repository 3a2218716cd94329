import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import InputError
from cluster.routers.instruction import Instruction, parted

IDS = st.lists(st.integers(0, 3), min_size=1, max_size=5)


@pytest.fixture
def tokenizer(pretrained):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(pretrained("llama")).backend_tokenizer


def asked(tokenizer, **settings):
    usual = {"template": "query {text} grade", "labels": ("1", "2"), "max_length": 12}
    return Instruction(tokenizer, **(usual | settings))


def spelled(tokenizer, ids):
    return [tokenizer.id_to_token(place) for place in ids]


def test_a_query_stands_within_the_instruction(tokenizer):
    instruction = asked(tokenizer)
    first, blank, long = instruction(pl.Series(["What is 3?", None, "3 " * 50]))
    assert spelled(tokenizer, first) == ["<s>", "query", "what", "is", "3", "?", "grade"]
    assert spelled(tokenizer, blank) == ["<s>", "query", "grade"]
    assert spelled(tokenizer, long) == ["<s>", "query", *["3"] * 9, "grade"]
    assert spelled(tokenizer, instruction.label_ids) == ["1", "2"]


def test_what_labels_have_in_common_is_said_for_them(tokenizer):
    instruction = asked(tokenizer, labels=("a 1", "a 2", "a 3"))
    (ids,) = instruction(pl.Series(["is"]))
    assert spelled(tokenizer, ids) == ["<s>", "query", "is", "grade", "a"]
    assert spelled(tokenizer, instruction.label_ids) == ["1", "2", "3"]


def test_a_query_cannot_speak_with_special_tokens(tokenizer):
    from tokenizers import AddedToken

    tokenizer.add_special_tokens([AddedToken("<s>", special=True)])
    instruction = asked(tokenizer, template="<s> {text} grade")
    (ids,) = instruction(pl.Series(["<s>"]))
    assert spelled(tokenizer, ids)[:2] == ["<s>", "<s>"]
    assert "<s>" not in spelled(tokenizer, ids)[2:]


def test_labels_that_begin_alike_are_refused(tokenizer):
    with pytest.raises(InputError, match="does not tell the labels 1 2, 1 2 3 apart"):
        asked(tokenizer, labels=("1 2", "1 2 3"))


@given(st.lists(IDS, min_size=2, max_size=4, unique_by=tuple))
def test_endings_are_told_apart_by_their_next_token_or_refused(endings):
    labels = tuple(map(str, endings))
    try:
        shared, following = parted(endings, labels=labels)
    except InputError:
        return
    assert len(set(following)) == len(endings)
    for ids, token in zip(endings, following, strict=True):
        assert ids[: len(shared) + 1] == [*shared, token]


@given(st.lists(st.integers(0, 9), min_size=2, max_size=5, unique=True), IDS)
def test_endings_that_differ_at_once_are_never_refused(tokens, shared):
    endings = [[*shared, token] for token in tokens]
    assert parted(endings, labels=("x",)) == (shared, tokens)
