"""In which language a query is written."""

import polars as pl

# What is looked at of a text: its language shows early, and a text may have megabytes.
CHARACTERS = 1000


def detect_languages(texts: pl.Series) -> pl.Series:
    """(n,) ISO 639 codes of the texts, as py3langid finds them (139 languages; about 28,000/s).

    It gives every text the likeliest language, short and odd ones too; `zxx` stands for none, such
    as numbers or markup.
    """
    import py3langid

    heads = texts.str.slice(0, CHARACTERS)
    return pl.Series([py3langid.classify(text)[0] for text in heads], dtype=pl.String)


def language_codes(values: pl.Series) -> pl.Series:
    """(n,) the codes of a column of languages: `de` for `de-AT`, `DE` or `de_CH`."""
    return values.cast(pl.String).str.strip_chars().str.to_lowercase().str.extract(r"^([a-z]+)")
