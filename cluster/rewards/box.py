"""The LaTeX box in which many models put their result."""

BOX = "\\boxed"


def last_box(text: str) -> str | None:
    """Content of the last `\\boxed{…}`, braces balanced; of a cut-off one, what there is.

    `\\boxed 42` has no braces: its content is the rest of the line.
    """
    start = text.rfind(BOX)
    if start < 0:
        return None
    rest = text[start + len(BOX) :].lstrip(" ")
    if not rest.startswith("{"):
        return rest.split("\n", 1)[0]
    return rest[1 : _closing_brace(rest)]


def _closing_brace(text: str) -> int:
    """Index of the brace that closes the one at 0, or the text's length."""
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return index
    return len(text)
