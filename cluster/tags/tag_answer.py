"""Reading the tags out of a model's answer."""

import json
from typing import Any

from cluster.completion import Outcome

# Reasons why a query, or a place among its tags, has no tag. They are counted and told in words.
OUT_OF_FORMAT = "the answer is not the JSON that was asked for"
CUT_OFF = "the answer was cut off at its length limit"
NO_TAGS = "the model gave no tag"
TOO_LONG = "the tag is too long"
TOO_MANY = "the model gave more tags than it may"

Read = list[tuple[str | None, str | None]]


def tags_schema(*, max_tags: int, max_characters: int) -> dict[str, Any]:
    """The JSON schema of an answer: `{"tags": ["...", "..."]}`."""
    tag = {"type": "string", "minLength": 1, "maxLength": max_characters}
    return {
        "type": "object",
        "properties": {"tags": {"type": "array", "items": tag, "maxItems": max_tags}},
        "required": ["tags"],
        "additionalProperties": False,
    }


def read_tags(text: str, *, outcome: Outcome, max_tags: int, max_characters: int) -> Read:
    """Tags, each once, with None or, without a tag, the reason; at least one entry.

    Models that do not follow a schema write around the JSON, and InsTag's own model a list of
    `{"tag": ..., "explanation": ...}`; both are read.
    """
    found = _listed(_json(text))
    if found is None:
        return [(None, CUT_OFF if outcome == "truncated" else OUT_OF_FORMAT)]
    tags = list(dict.fromkeys(tag for tag in map(sound_text, found) if tag))
    read: Read = [
        (tag, None) if len(tag) <= max_characters else (None, TOO_LONG) for tag in tags[:max_tags]
    ]
    if len(tags) > max_tags:
        read.append((None, TOO_MANY))
    return read or [(None, NO_TAGS)]


def sound_text(text: str) -> str:
    """Blanks single, none outside, and no half of a pair of surrogates, which is no character."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


def _json(text: str) -> Any:
    """The JSON value in a text: the whole, or from its first bracket to the last such; else None.

    The list comes second: one around objects begins before them.
    """
    starts = sorted((text.find(opening), opening) for opening in "{[" if opening in text)
    parts = [text[at : text.rfind("}" if opening == "{" else "]") + 1] for at, opening in starts]
    for part in (text, *parts):
        try:
            return json.loads(part)
        # An answer of a hundred thousand brackets is deeper than the parser goes.
        except (ValueError, RecursionError):
            continue
    return None


def _listed(value: Any) -> list[str] | None:
    """The tags of `{"tags": [...]}` or of a list, whose items are texts or have a `tag`."""
    if isinstance(value, dict):
        value = value.get("tags")
    if not isinstance(value, list):
        return None
    names = [item.get("tag") if isinstance(item, dict) else item for item in value]
    texts = [name for name in names if isinstance(name, str)]
    return texts if len(texts) == len(names) else None
