"""What a judge said: a grade or a verdict out of its text.

With structured output the text is the JSON asked for. Engines without it, and models that know
better, wrap it in prose or a code fence, or give the bare word: what is unambiguous is taken.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal, TypeVar

Mode = Literal["grade", "pairwise"]
Verdict = Literal["first", "second", "tie"]
Said = TypeVar("Said")
GRADES = range(1, 6)
# Characters of the reasoning: enough for a sentence, and little to pay for.
_REASON_LENGTH = 200
# Of an answer out of format that its reason shows.
_SHOWN = 80

_SAID: dict[Mode, dict[str, Any]] = {
    "grade": {"grade": {"type": "integer", "enum": list(GRADES)}},
    "pairwise": {"verdict": {"type": "string", "enum": ["A", "B", "tie"]}},
}

_VERDICTS: dict[str, Verdict] = {"a": "first", "b": "second", "tie": "tie", "c": "tie"}
_GRADE_WORD = re.compile(
    r"\b(?:grade|score|rating)\b[\s*:=\"'(\[]{0,8}(?:is|of)?[\s*:=\"'(\[]{0,8}([0-9]+(?:[.,][0-9]+)?)",
    re.IGNORECASE,
)
# No word may follow on the line: "verdict: A is worse" says the contrary.
_VERDICT_WORD = re.compile(
    r"\bverdict\b[\s*:=\"'(\[]{0,8}(?:is)?[\s*:=\"'(\[]{0,8}(A|B|tie)\b(?![ \t*_\"')\]]*\w)"
    r"(?P<rest>[^\n]*)",
    re.IGNORECASE,
)
_NAMED = re.compile(r"\b[AB]\b")
_BRACKETS = re.compile(r"\[\[\s*([0-9]+(?:[.,][0-9]+)?|A|B|C|tie)\s*\]\]", re.IGNORECASE)


def schema_of(mode: Mode, *, bounded: bool) -> dict[str, Any]:
    """The JSON schema of an answer: a short reason first, then the grade or verdict.

    `bounded`: whether the schema limits the reason's length; some endpoints refuse a schema that
    limits a string.
    """
    reason = {"type": "string"} | ({"maxLength": _REASON_LENGTH} if bounded else {})
    properties = {"reason": reason} | _SAID[mode]
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def parse_grade(text: str) -> int | None:
    """The grade, 1 to 5; None where there is none, or none of these."""
    for found in _objects(text):
        if "grade" in found:
            return _grade(found["grade"])
    said = [*_BRACKETS.findall(text), *_GRADE_WORD.findall(text)]
    return _the_one({_grade(word) for word in said or [text]})


def parse_verdict(text: str) -> Verdict | None:
    """Which of the two shown is better, or a tie; None where that is not said."""
    for found in _objects(text):
        if "verdict" in found:
            return _verdict(found["verdict"])
    words = [found[1] for found in _VERDICT_WORD.finditer(text) if not _NAMED.search(found["rest"])]
    return _the_one({_verdict(word) for word in [*_BRACKETS.findall(text), *words] or [text]})


def unparsable(text: str) -> str:
    """The reason of an answer out of format."""
    shown = text.strip()[:_SHOWN]
    return f"unparsable: the judge wrote {json.dumps(shown, ensure_ascii=False)}"


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """JSON objects in the text, the last first: a model may repeat what it was asked for."""
    decoder = json.JSONDecoder()
    # Each start costs a parse up to the fault, so an endless row of braces is not tried out.
    starts = [found.start() for found in re.finditer(r"\{", text[:10_000])][-50:]
    for start in reversed(starts):
        try:
            value, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def _grade(said: Any) -> int | None:
    """A whole number of the scale, however it is written: 4, "4", 4.0, "4/5", "**4**"."""
    word = str(said).strip(" \n\t*_\"'`.()[]").removesuffix("/5").strip()
    if not re.fullmatch(r"[0-9](?:[.,]0)?", word):
        return None
    value = int(word[0])
    return value if value in GRADES else None


def _verdict(said: Any) -> Verdict | None:
    word = str(said).strip(" \n\t*_\"'`.()[]").casefold().removeprefix("answer ").strip()
    return _VERDICTS.get(word)


def _the_one(found: set[Said]) -> Said | None:
    """What all that was said agrees on."""
    return found.pop() if len(found) == 1 else None
