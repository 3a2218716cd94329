"""What can be seen of a text without knowing what it means: how long it is, what it counts.

Plain length is a strong feature and one that transfers: on RouteLLM's MMLU it alone gives an APGR
of .586, on subjects never seen too, where learned weights of everything else fall behind it.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from cluster.outcome import FloatMatrix
from cluster.state import State

NUMBER = r"\p{Nd}[\p{Nd},]*(?:\.\p{Nd}+)?"
# Columns of `surface` and of `beside`.
N_SURFACE = 6
N_BESIDE = 9
# A feature that is the same in every row says nothing, and divides by 0.
LEAST_SCALE = 1e-9


@dataclass(frozen=True)
class Standard:
    """Columns brought to mean 0 and standard deviation 1, as they were on the training rows.

    Attributes:
        mean, scale: (n_columns,).
    """

    mean: FloatMatrix
    scale: FloatMatrix

    @classmethod
    def fit(cls, values: FloatMatrix) -> Self:
        """Of (n, n_columns) with at least one row; a constant column becomes 0."""
        deviation = values.std(axis=0)
        varies = deviation > LEAST_SCALE * (1 + np.abs(values).max(axis=0))
        return cls(values.mean(axis=0), np.where(varies, deviation, np.inf))

    def apply(self, values: FloatMatrix) -> FloatMatrix:
        """(n, n_columns), standardised."""
        standardised: FloatMatrix = (values - self.mean) / self.scale
        return standardised

    def state(self) -> State:
        """Both rows."""
        return State({}, {"moments": np.stack([self.mean, self.scale])})

    @classmethod
    def from_state(cls, state: State, *, columns: int) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: the moments are missing or of another number of columns.
        """
        mean, scale = state.tensor("moments", shape=(2, columns))
        return cls(mean, scale)


def log_length(texts: pl.Series) -> FloatMatrix:
    """(n,): log(1 + characters); 0 for no text."""
    length: FloatMatrix = np.log1p(
        texts.cast(pl.String).str.len_chars().fill_null(0).to_numpy().astype(np.float64)
    )
    return length


def surface(texts: pl.Series) -> FloatMatrix:
    """(n, 6): log(1 + count) of characters, numbers, words, lines, operators and sentences."""
    text = pl.col("text").fill_null("")
    counts = pl.DataFrame({"text": texts.cast(pl.String)}).select(
        characters=text.str.len_chars(),
        numbers=text.str.count_matches(r"\p{Nd}+"),
        words=text.str.count_matches(r"\p{L}+"),
        lines=text.str.count_matches("\n"),
        operators=text.str.count_matches(r"[=+*/×÷]"),
        sentences=text.str.count_matches(r"[.!?。！？](?:\s|$)"),
    )
    logs: FloatMatrix = np.log1p(counts.to_numpy().astype(np.float64))
    return logs


def beside(texts: pl.Series, *, answers: pl.Series) -> FloatMatrix:
    """(n, 9): how each answer's numbers and words stand to those of its query.

    Of numbers: the share of the query's that the answer takes up, log(1 + how many others it
    brings in), the share with a fraction; of the last one, which is often the result: whether
    there is one, its log size, whether it has a fraction, whether that is all zeros, and whether
    the query has it. Of words: the share of the query's that the answer repeats.
    """
    pairs = pl.DataFrame({"query": texts.cast(pl.String), "answer": answers.cast(pl.String)})
    lists = pairs.select(
        **{f"{name}_numbers": numbers(pl.col(name)) for name in pairs.columns},
        **{f"{name}_words": words(pl.col(name)) for name in pairs.columns},
    )
    asked, said = pl.col("query_numbers"), pl.col("answer_numbers")
    last = said.list.last()
    features = lists.select(
        taken_up=share_of(asked, said),
        brought_in=said.list.set_difference(asked).list.len().log1p(),
        fractions=said.list.eval(pl.element().str.contains(".", literal=True)).list.mean(),
        last=last.is_not_null(),
        size=last.cast(pl.Float64, strict=False).log1p(),
        fraction=last.str.contains(".", literal=True),
        zeros=last.str.contains(r"\.0+$"),
        repeated=asked.list.contains(last),
        words=share_of(pl.col("query_words"), pl.col("answer_words")),
    )
    known: FloatMatrix = features.cast(pl.Float64).fill_null(0.0).fill_nan(0.0).to_numpy()
    return known


def numbers(text: pl.Expr) -> pl.Expr:
    """The numbers in a text, in order, without the commas between thousands."""
    found = text.fill_null("").str.extract_all(NUMBER)
    return found.list.eval(pl.element().str.replace_all(",", "", literal=True))


def words(text: pl.Expr) -> pl.Expr:
    """The words of a text in lower case."""
    return text.fill_null("").str.to_lowercase().str.extract_all(r"\p{L}+")


def share_of(wanted: pl.Expr, there: pl.Expr) -> pl.Expr:
    """Share of the distinct entries of one list that the other has; null for an empty one."""
    common = wanted.list.set_intersection(there).list.len().cast(pl.Float64)
    return common / wanted.list.unique().list.len()
