"""The letter an answer chooses against the reference's letter.

Looked for in this order; the first place that names a letter decides:

1. the last `\\boxed{…}`;
2. behind "answer is", "answer:", "correct option is" and the like, and in "B is correct";
3. at the beginning of a line: "B", "(B)", "B.", "B) text", "option B", "b" alone;
4. anywhere, in brackets or behind "option" or "choice".

Two letters in the place that decides ("A or B", two answers that differ, the list of options said
again) are no choice. The article "A", the pronoun "I" and abbreviations ("e.g.", "D.C.") are no
letters; neither is "A:" at the beginning of a line, which stands for "answer".
"""

import re
from collections.abc import Callable
from typing import ClassVar

import polars as pl

from cluster.rewards.box import last_box
from cluster.rewards.scorer import Scorer

# Every repetition is bounded and none gives back what it took, so that a search is linear in the
# answer's length ("B or B or …", 1 MB: over a minute with backtracking).
OPEN = r"[ \t*_`\"'$(\[{]{0,8}+"
CLOSED = r"[*_`\"'$)\]}]{0,6}+"
# A bare "A" or "I" before a word is an article or a pronoun, unless the word goes on about it.
OTHER_WORD = r"[ \t]{1,3}(?!(?:because|since|as|is|or|and|due)\b)[A-Za-z]"
CAPITAL = rf"(?:[B-HJ]|[AI](?!{OTHER_WORD}))"
# In lower case it is a letter only where nothing but punctuation follows.
SMALL = rf"[a-j](?=[)\]]|{CLOSED}[ \t]{{0,3}}(?:[.,;:!\n]|$))"
NOT_A_WORD = r"(?![A-Za-z0-9'’+#]|-[A-Za-z]|\.[A-Za-z]\b)"
NOUN = r"(?:(?:[Oo]ption|[Cc]hoice|OPTION|CHOICE)[ \t]{1,3})?"
LETTER = rf"(?>{OPEN}{NOUN}{OPEN}(?:{CAPITAL}|{SMALL}){NOT_A_WORD}{CLOSED})"
JOINT = r"(?>[ \t]{0,3}(?:,[ \t]{0,3}(?:and\b|or\b)?|/|&|\+|and\b|or\b))"
LETTERS = rf"(?P<letters>{LETTER}(?:{JOINT}{LETTER}){{0,9}}+)"

SUBJECT = r"(?:answers?|(?:correct|right|best|final|my)[ ](?:option|choice|answer)s?)"
VERB = r"(?:\b(?:is|are|would[ ]be|must[ ]be|should[ ]be)\b|[:=])"
ADVERB = r"(?:(?:most[ ]likely|clearly|definitely|probably|therefore|thus|both|either)\b)?"
RIGHT = r"[ ]is[ ](?:the[ ])?(?:most[ ])?(?:correct|right|best|true|answer)\b"
STATED = re.compile(
    rf"\b(?i:{SUBJECT}\b[^\n.:=]{{0,40}}?{VERB}[*_]{{0,4}}[ \t\n]{{0,8}}{ADVERB}){LETTERS}"
)
CONFIRMED = re.compile(rf"(?<![A-Za-z0-9'’]){LETTERS}{RIGHT}")
ENDS = r"(?:(?<=[)\]}*])|(?=[ \t]{0,3}(?:[.:,;!]|[-–—][ \t]|\n|$)))"
LINE = re.compile(rf"^(?![ \t]{{0,8}}A:){LETTERS}{ENDS}", re.MULTILINE)
MENTIONED = re.compile(
    r"\((?P<letters>[A-Ja-j])\)|\b(?:[Oo]ption|[Cc]hoice)[ \t]{1,3}(?P<noun>[A-J])\b"
)
BOXED = re.compile(rf"(?:\\(?:text|textbf|mathrm|mathbf)[ ]?)?{LETTERS}")
SINGLE = re.compile(r"(?<![A-Za-z])[A-Ja-j](?![A-Za-z])")
REFERENCE = re.compile(
    rf"\s*{OPEN}(?P<letter>[A-Ja-j])(?:[.:)\]}}*_`\"'$\s]*|[).][ ].*)", re.DOTALL
)


def chosen_letter(text: str) -> str | None:
    """The letter an answer chooses, a capital; None if there is none or more than one."""
    letters = _boxed(text) or _stated(text) or _letters(LINE, text) or _mentioned(text)
    return letters.pop() if len(letters) == 1 else None


def reference_letter(text: str) -> str | None:
    """The letter a reference is: "B", "b", "(B)", "B." or "B) text"; None for anything else."""
    found = REFERENCE.fullmatch(text)
    return found["letter"].upper() if found else None


def _letters(pattern: re.Pattern[str], text: str) -> set[str]:
    """Every letter in the pattern's group `letters`, as capitals."""
    return {
        letter.upper()
        for found in pattern.finditer(text)
        for letter in SINGLE.findall(found["letters"])
    }


def _boxed(text: str) -> set[str]:
    box = last_box(text)
    found = None if box is None else BOXED.match(box)
    return {letter.upper() for letter in SINGLE.findall(found["letters"])} if found else set()


def _stated(text: str) -> set[str]:
    return _letters(STATED, text) | _letters(CONFIRMED, text)


def _mentioned(text: str) -> set[str]:
    found = MENTIONED.finditer(text)
    return {(mention["letters"] or mention["noun"]).upper() for mention in found}


class MultipleChoice(Scorer):
    """1 where the answer chooses the reference's letter (A to J), else 0.

    An answer that names no letter or several scores 0. Null where the reference is not a letter.
    """

    name: ClassVar[str] = "multiple_choice"

    @property
    def needs_reference(self) -> bool:
        """See `Scorer.needs_reference`."""
        return True

    def score(self, answers: pl.DataFrame) -> pl.Series:
        """Rewards, (n_answers,); see `Scorer.score`."""
        # Python for each text: the order of places and the set of letters are no one expression.
        # NFKC turns full-width, circled and bracketed letters into plain ones.
        read = answers.select(
            _read("text", chosen_letter).fill_null("").alias("chosen"),
            _read("reference", reference_letter).alias("right"),
            pl.col("text").is_null().alias("missing"),
        )
        equal = (pl.col("chosen") == pl.col("right")).cast(pl.Float64)
        return read.select(pl.when(~pl.col("missing")).then(equal).alias("reward"))["reward"]


def _read(column: str, reader: Callable[[str], str | None]) -> pl.Expr:
    plain = pl.col(column).cast(pl.String).str.normalize("NFKC")
    return plain.map_elements(reader, return_dtype=pl.String)
