"""What a user said first, out of the shapes in which arenas publish conversations.

A list of turns `{role, content}`, whose content is text or a list of `{type, text}`; a list of the
user's turns as strings; any of these as JSON text; or the text alone.
"""

import json
from typing import Any

from cluster.importers.score_table import LONE_SURROGATE

REPLACEMENT = "\ufffd"


def first_turn(said: object) -> str:
    """The text of the user's first turn; empty where there is none.

    One half of a surrogate pair, which JSON can hold and a table cannot, becomes U+FFFD.
    """
    return LONE_SURROGATE.sub(REPLACEMENT, _first(_opened(said)))


def _opened(said: object) -> object:
    """JSON text of a list as the list; anything else as it is."""
    if not isinstance(said, str) or not said.lstrip().startswith("["):
        return said
    try:
        return json.loads(said)
    except ValueError:  # a text that begins with a bracket
        return said


def _first(said: object) -> str:
    if isinstance(said, list):
        turns = [turn for turn in said if _is_users(turn)]
        return _content(turns[0]) if turns else ""
    return said if isinstance(said, str) else ""


def _is_users(turn: object) -> bool:
    return not isinstance(turn, dict) or turn.get("role", "user") in ("user", "human")


def _content(turn: Any) -> str:
    content = turn.get("content") if isinstance(turn, dict) else turn
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    return "\n".join(part for part in parts if isinstance(part, str))
