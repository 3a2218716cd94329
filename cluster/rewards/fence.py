"""The fenced blocks in which models put code and JSON."""

import re

FENCE = re.compile(
    r"^[ ]{0,3}(?P<mark>`{3,}|~{3,})[ \t]*(?P<language>[^\s`]*)[^\n`]*$", re.MULTILINE
)


def last_fence(text: str, *, languages: frozenset[str] = frozenset()) -> str | None:
    """Content of the last fenced block; None if there is none.

    Of the blocks in one of the languages, if there are any; else of all. A block that is not
    closed, as in a truncated answer, reaches to the end.
    """
    blocks = _blocks(text)
    wanted = [content for language, content in blocks if language.lower() in languages]
    found = wanted or [content for _, content in blocks]
    return found[-1] if found else None


def _blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of every block, in order."""
    blocks: list[tuple[str, str]] = []
    opened: re.Match[str] | None = None
    for found in FENCE.finditer(text):
        if opened is None:
            opened = found
        elif found["mark"].startswith(opened["mark"]) and not found["language"]:
            blocks.append((opened["language"], text[opened.end() + 1 : found.start()]))
            opened = None
    if opened is not None:
        blocks.append((opened["language"], text[opened.end() + 1 :]))
    return blocks
