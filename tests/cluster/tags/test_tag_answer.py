"""What a model answers, read as tags or as a reason why there are none."""

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.tags.tag_answer import (
    CUT_OFF,
    NO_TAGS,
    OUT_OF_FORMAT,
    TOO_LONG,
    TOO_MANY,
    read_tags,
    tags_schema,
)


def read(text: str, *, outcome="ok", max_tags=3, max_characters=12):
    return read_tags(text, outcome=outcome, max_tags=max_tags, max_characters=max_characters)


@pytest.mark.parametrize(
    "text",
    [
        '{"tags": ["Sums", "roman numbers"]}',
        '```json\n{"tags": ["Sums", " roman\\nnumbers "]}\n```',
        'Sure! [{"tag": "Sums", "explanation": "adds"}, {"tag": "roman numbers"}] Done.',
        '["Sums", "roman numbers", "Sums"]',
    ],
)
def test_tags_are_read_with_or_without_words_around(text: str) -> None:
    assert read(text) == [("Sums", None), (None, TOO_LONG)]
    assert read(text, max_characters=13) == [("Sums", None), ("roman numbers", None)]


@pytest.mark.parametrize(
    ("text", "outcome", "reason"),
    [
        ("I would say sums.", "ok", OUT_OF_FORMAT),
        ("", "ok", OUT_OF_FORMAT),
        ('{"tags": "sums"}', "ok", OUT_OF_FORMAT),
        ('{"tags": [1]}', "ok", OUT_OF_FORMAT),
        ("[" * 200_000, "ok", OUT_OF_FORMAT),
        ('{"tags": ["su', "truncated", CUT_OFF),
        ('{"tags": []}', "ok", NO_TAGS),
        ('{"tags": ["", " "]}', "ok", NO_TAGS),
        ('{"tags": ["' + "x" * 1_000_000 + '"]}', "ok", TOO_LONG),
    ],
)
def test_without_a_tag_there_is_a_reason(text: str, outcome: str, reason: str) -> None:
    assert read(text, outcome=outcome) == [(None, reason)]


def test_more_tags_than_there_may_be_are_not_read() -> None:
    found = read(json.dumps({"tags": ["a", "b", "c", "d"]}))
    assert found == [("a", None), ("b", None), ("c", None), (None, TOO_MANY)]


def test_emoji_other_scripts_and_halves_of_characters() -> None:
    assert read('["数学", "🔥", "a\\ud83d", "\\u0000"]', max_tags=4) == [
        ("数学", None),
        ("🔥", None),
        ("a?", None),
        ("\0", None),
    ]


@given(st.lists(st.text(min_size=1, max_size=12), max_size=3, unique=True))
def test_what_follows_the_schema_is_in_format(tags: list[str]) -> None:
    answer = {"tags": tags}
    jsonschema.validate(answer, tags_schema(max_tags=3, max_characters=12))
    reasons = {reason for _, reason in read(json.dumps(answer))}
    assert reasons <= {None, NO_TAGS}


@given(st.text(max_size=200))
def test_no_answer_is_too_odd(text: str) -> None:
    assert read(text)
