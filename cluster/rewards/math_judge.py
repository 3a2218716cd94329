"""Whether two texts arrive at the same expression; runs in a bounded worker."""

import logging
import re
from functools import lru_cache
from typing import Any

from math_verify import parse, verify

from cluster.rewards.box import BOX

# A result stands at a text's end, and the search for expressions is quadratic in its length:
# 100,000 characters of "1 " take over 5 s, 8,000 of them 0.4 s.
TAIL = 8_000
LATEX = ("$", "\\(", "\\[", BOX)
# Between dollar signs "words" is the product of five variables.
PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{4,}")
NO_EXPRESSION = "no expression found"


def judge(text: str, reference: str) -> tuple[float | None, str | None]:
    """Value and reason; both bounded by whoever calls."""
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # It warns of time-outs not set.
    expected = _reference(reference[-TAIL:])
    if not expected:
        return None, f"the reference: {NO_EXPRESSION}"
    found = _parsed(text[-TAIL:])
    if not found:
        return 0.0, NO_EXPRESSION
    # No time-outs of its own: they are signals, which a worker's owner does better by killing it.
    return float(verify(expected, found, timeout_seconds=None)), None


@lru_cache(maxsize=64)
def _reference(text: str) -> list[Any]:
    """Expressions of a reference; plain LaTeX ("\\frac12") is read as if in dollar signs."""
    result = text.rpartition("####")[2].strip()
    bare = not any(mark in result for mark in LATEX) and not PROSE.search(result)
    return (bare and _parsed(f"${result}$")) or _parsed(result)


def _parsed(text: str) -> list[Any]:
    return list(parse(text, parsing_timeout=None))
