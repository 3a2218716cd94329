"""The form of a tag: what is left of it when spelling does not count.

InsTag's rule aggregation: lower case, special characters become blanks, every word is stemmed (Lu
et al. 2023, arXiv 2308.07074, section 3). The paper stems "with NLTK" and does not say by which of
its stemmers, nor which characters are special. Here the stemmer is Snowball's for English, and
everything is special but letters, marks and digits, and `++` or `#` at the end of a word: C, C++
and C# are three languages.
"""

import re

import polars as pl

WORD = r"[\p{L}\p{N}][\p{L}\p{M}\p{N}]*(?:\+\+|#)?"
ENGLISH = re.compile("[a-z]+")
# A second time, for what only lower case makes equal: without it, a cleaned tag changes again.
TURNS = 2


def cleaned(tags: pl.Series) -> pl.Series:
    """(n,) lower case, one blank between words, no special character; "" where no word is left."""
    for _ in range(TURNS):
        tags = tags.cast(pl.String).str.normalize("NFKC").str.to_lowercase()
    return tags.str.normalize("NFKC").str.extract_all(WORD).list.join(" ")


def stemmed(tags: pl.Series) -> pl.Series:
    """(n,) cleaned tags with their English words stemmed; words of other scripts stay."""
    words = pl.DataFrame({"word": tags.str.split(" ")}).with_row_index("row")
    words = words.explode("word", empty_as_null=True)
    names = words["word"].drop_nulls().unique()
    stems = dict(zip(names.to_list(), _stems(names.to_list()), strict=True))
    stem = pl.col("word").replace_strict(stems, default="", return_dtype=pl.String)
    rows = words.group_by("row", maintain_order=True).agg(stem)
    return rows["word"].list.join(" ").alias(tags.name)


def _stems(words: list[str]) -> list[str]:
    from snowballstemmer import stemmer

    english = stemmer("english")
    return [english.stemWord(word) if ENGLISH.fullmatch(word) else word for word in words]
