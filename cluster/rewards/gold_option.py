"""How sure a candidate was of the right option, from the probabilities of its first token."""

import json
import math
import re
from typing import ClassVar

import polars as pl

from cluster.rewards.multiple_choice import reference_letter
from cluster.rewards.scorer import RATING_SCHEMA, Rated, Scorer

NO_LOGPROBS = "the candidate kept no logprobs; set 'sampling: {logprobs: 20}' for it"
LETTERS = "ABCDEFGHIJ"
# Blanks as tokenizers spell them, too (SentencePiece's "▁", the byte alphabet's "Ġ" and "Ċ").
TOKEN = re.compile(r"[\s▁ĠĊ*_`\"'$(\[{]*+(?P<letter>[A-J])[\s*_`\"'$)\]}.:,]*+")
BRACKETED = re.compile(r"[\s▁ĠĊ]*+[(\[](?P<letter>[a-j])[)\]]?+")
LISTED = re.compile(r"(?:^|(?<=[\s,;(\[]))\*{0,2}\(?(?P<letter>[A-J])[).:\]]", re.MULTILINE)


def options(query: str) -> str:
    """Letters of the options a query lists, from A without a gap; A to J if it lists no two."""
    listed = {found["letter"] for found in LISTED.finditer(query)}
    count = next((n for n, letter in enumerate(LETTERS) if letter not in listed), len(LETTERS))
    return LETTERS[:count] if count > 1 else LETTERS


def option_probabilities(logprobs: dict[str, float], *, letters: str) -> dict[str, float]:
    """Probability of each letter that some token spells, normalised over them.

    "B", " B", "(B" and "B." are all B; their probabilities add up. A small letter counts in
    brackets alone, for "a" is an article.
    """
    spelled = [
        (found["letter"].upper(), logprob)
        for token, logprob in logprobs.items()
        if (found := TOKEN.fullmatch(token) or BRACKETED.fullmatch(token))
        and found["letter"].upper() in letters
    ]
    if not spelled:
        return {}
    likeliest = max(logprob for _, logprob in spelled)
    mass = dict.fromkeys((letter for letter, _ in spelled), 0.0)
    for letter, logprob in spelled:
        mass[letter] += math.exp(logprob - likeliest)
    total = sum(mass.values())
    return {letter: part / total for letter, part in mass.items()}


class GoldOption(Scorer):
    """Probability of the right option among the options if none is likelier, else 0.

    RouterDC's score for multiple choice (Chen et al. 2024, section 4.1): the answer's first token
    decides, its probabilities normalised over the options. Which letters are options is read from
    the query, A to J if it does not say. An option whose token is not among the kept ones has
    probability 0. `raw` is the probability of the right option, whether it is the likeliest or
    not. Null where the reference is not a letter, and without kept logprobs.
    """

    name: ClassVar[str] = "gold_option"

    @property
    def needs_reference(self) -> bool:
        """See `Scorer.needs_reference`."""
        return True

    def score(self, answers: pl.DataFrame) -> pl.Series:
        """Rewards, (n_answers,); see `Scorer.score`."""
        return self.rate(answers).ratings["value"]

    def rate(self, answers: pl.DataFrame) -> Rated:
        """The same with the probability and the reason; see `Scorer.rate`."""
        kept = answers.get_column("first_logprobs", default=None)
        if kept is None:
            kept = pl.Series("first_logprobs", [None] * answers.height, dtype=pl.String)
        columns = (answers["query"], answers["text"], answers["reference"], kept)
        # Row by row: tokens and letters are JSON and Python's expressions.
        rows = [_rated(*row) for row in zip(*columns, strict=True)]
        return Rated(pl.DataFrame(rows, schema=RATING_SCHEMA, orient="row"))


Row = tuple[float | None, float | None, str | None]


def _rated(query: str | None, text: str | None, reference: str | None, kept: str | None) -> Row:
    """Value, raw and reason of one answer."""
    if text is None or reference is None or not reference.strip():
        return None, None, None
    gold = reference_letter(reference)
    if gold is None:
        return None, None, "the reference is not a letter from A to J"
    if kept is None:
        return None, None, NO_LOGPROBS
    logprobs = _read(kept)
    if logprobs is None:
        return None, None, "first_logprobs is no JSON object of tokens and finite logprobs"
    return _judged(gold, logprobs=logprobs, letters=options(query or "") + gold)


def _judged(gold: str, *, logprobs: dict[str, float], letters: str) -> Row:
    probabilities = option_probabilities(logprobs, letters=letters)
    if not probabilities:
        return 0.0, 0.0, f"no option among the {len(logprobs)} likeliest first tokens"
    right = probabilities.get(gold, 0.0)
    if right < max(probabilities.values()):
        return 0.0, right, f"{max(probabilities, key=lambda o: probabilities[o])} is likelier"
    return right, right, None


def _read(kept: str) -> dict[str, float] | None:
    """Logprobs as they are in the lake; None if they are not what they should be."""
    try:
        logprobs = json.loads(kept)
        sound = all(math.isfinite(logprob) for logprob in logprobs.values())
    except (ValueError, RecursionError, AttributeError, TypeError, OverflowError):
        return None
    return logprobs if sound else None
