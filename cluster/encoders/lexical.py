"""Words → vectors with a learned vocabulary: TF-IDF weights, truncated SVD, L2 rows.

Nothing is downloaded and nothing is hashed: the vocabulary is a list of terms, one a line. Terms
that are left out of it, being rare, still say how long they are, and so does every number.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field
from scipy import sparse

from cluster.encoders.blas import one_blas_thread
from cluster.encoders.encoder import Encoder, EncoderState, FittedEncoder, Vectors
from cluster.errors import InputError

# Scripts written without spaces: every character is a word.
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
WORD = rf"[\p{{L}}\p{{M}}--[{UNSPACED}]]+"
SYMBOL = r"[^\s\p{L}\p{M}]"
TERM = rf"{WORD}|[{UNSPACED}]|0+|{SYMBOL}"

# Terms of rare words; no term of a text holds a blank, so they cannot be mistaken for one.
LONGEST_RARE_WORD = 16
RARE = " letters"

VOCABULARY_FILE = "vocabulary.txt"
# Text per slice: the terms of 4 MB take about 0.12 GB while they are counted; more is no faster.
SLICE_BYTES = 4_000_000

Counts = Any  # scipy.sparse.csr_matrix, which has no types
Codes = npt.NDArray[np.uint32]


class FittedLexical(FittedEncoder):
    """A vocabulary and the vector of each of its terms."""

    name: ClassVar[str] = "lexical"

    def __init__(self, vocabulary: list[str], terms: Vectors) -> None:
        """`terms`: (n_terms, dimensions), the inverse frequencies already in them."""
        self.vocabulary = vocabulary
        self.terms = terms

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self.terms.shape[1])

    def encode(self, texts: pl.Series) -> Vectors:
        """(n, dimensions) float32, one L2-normalised row a text; zeros where no term is known."""
        empty = np.zeros((0, self.dimensions), dtype=np.float32)
        parts = (self.vectors(count_terms(part, self.vocabulary)) for part in slices(texts))
        return np.concatenate([empty, *parts])

    def vectors(self, counts: Counts) -> Vectors:
        """(n, dimensions): as `encode`, of texts whose terms are counted, (n, n_terms)."""
        vectors: Vectors = dampen(counts) @ self.terms
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        scaled: Vectors = vectors / np.maximum(norms, np.finfo(np.float32).tiny)
        return scaled

    def state(self) -> EncoderState:
        """The vocabulary as text, the terms' vectors as a tensor."""
        return EncoderState(
            {}, {"terms": self.terms}, {VOCABULARY_FILE: "\n".join(self.vocabulary) + "\n"}
        )

    @classmethod
    def from_state(cls, state: EncoderState) -> Self:
        """The inverse of `state`.

        Raises:
            InputError: the vocabulary repeats a term or does not fit the tensor.
        """
        vocabulary = state.text(VOCABULARY_FILE).removesuffix("\n").split("\n")
        if len(set(vocabulary)) != len(vocabulary):
            raise InputError(f"damaged checkpoint: {VOCABULARY_FILE} repeats a term")
        terms = state.tensor("terms", shape=(len(vocabulary), None))
        return cls(vocabulary, terms.astype(np.float32, copy=False))


class LexicalEncoder(Encoder):
    """Settings of the lexical encoder.

    Attributes:
        dimensions: length of a vector; less where the corpus has fewer terms or texts.
        max_terms: size of the vocabulary; the terms found in most texts are kept.
        min_texts: texts a term must occur in, to be kept.
        max_fit_texts: texts of a larger corpus that are drawn to fit on.
    """

    name: ClassVar[str] = "lexical"

    fitted: ClassVar[type[FittedEncoder]] = FittedLexical

    dimensions: int = Field(default=64, ge=1, le=4096)
    max_terms: int = Field(default=20_000, ge=1)
    min_texts: int = Field(default=3, ge=1)
    max_fit_texts: int = Field(default=100_000, ge=1)

    def fit(self, texts: pl.Series, *, seed: int) -> FittedLexical:
        """Learn vocabulary and projection; equal for equal texts, in this order, and seed.

        Raises:
            InputError: there is no text with a word in it.
        """
        if len(texts) > self.max_fit_texts:
            drawn = np.random.default_rng(seed).choice(
                len(texts), self.max_fit_texts, replace=False
            )
            texts = texts.gather(np.sort(drawn))
        vocabulary = learn_vocabulary(texts, max_terms=self.max_terms, min_texts=self.min_texts)
        counts = sparse.vstack([count_terms(part, vocabulary) for part in slices(texts)]).tocsr()
        idf = inverse_frequency(counts)
        projection = self._projection(weigh(counts, idf), seed=seed)
        return FittedLexical(vocabulary, (idf[:, None] * projection).astype(np.float32))

    def _projection(self, weighted: Counts, *, seed: int) -> npt.NDArray[np.float64]:
        """(n_terms, dimensions): the leading right singular vectors."""
        from sklearn.utils.extmath import randomized_svd

        size = min(self.dimensions, *weighted.shape)
        with one_blas_thread():
            right: npt.NDArray[np.float64] = randomized_svd(
                weighted, size, n_iter=5, random_state=seed % 2**32
            )[2]
        return right.T


def slices(texts: pl.Series) -> Iterator[pl.Series]:
    """The texts in order, in parts of about `SLICE_BYTES`."""
    if texts.is_empty():
        return
    part = (texts.str.len_bytes().fill_null(0).cum_sum() // SLICE_BYTES).to_numpy()
    starts = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(texts)]
    for start, end in pairwise(starts):
        yield texts[start:end]


def terms_of(texts: pl.Series) -> pl.DataFrame:
    """One row an occurrence: `row` (UInt32, position of the text) and `term`, null for none.

    Digits all read 0, so 42 and 57 are one term, `00`, and the size of a number is visible.
    """
    lower = pl.col("text").str.to_lowercase().str.replace_all(r"\p{Nd}", "0")
    return (
        pl.DataFrame({"text": texts.cast(pl.String)})
        .with_row_index("row")
        .select("row", term=lower.str.extract_all(TERM))
        .explode("term", empty_as_null=True)
    )


def rare_term(term: pl.Expr) -> pl.Expr:
    """What stands in for a term outside the vocabulary: its length."""
    length = term.str.len_chars().clip(upper_bound=LONGEST_RARE_WORD)
    return length.cast(pl.String) + RARE


def learn_vocabulary(texts: pl.Series, *, max_terms: int, min_texts: int) -> list[str]:
    """Terms in the most texts first, ties by the term itself; then what stands for the others.

    Raises:
        InputError: there is no term at all.
    """
    seen = pl.concat([terms_of(part).unique() for part in slices(texts)] or [terms_of(texts)])
    frequency = (
        seen.drop_nulls()
        .group_by("term")
        .agg(texts=pl.len())
        .sort("texts", "term", descending=[True, False])
    )
    if frequency.is_empty():
        raise InputError("no text holds a word: there is nothing to learn a vocabulary from")
    kept = frequency.filter(pl.col("texts") >= min_texts).head(max_terms)["term"].to_list()
    return kept + [f"{length}{RARE}" for length in range(1, LONGEST_RARE_WORD + 1)]


def count_terms(texts: pl.Series, vocabulary: list[str]) -> Counts:
    """(n, n_terms) sparse float32: how often each term occurs in each text; rows sorted by term."""
    row, code = coded_terms(texts, vocabulary)
    # Sorted as one number a term: a third of the time that sorting a sparse matrix takes.
    place = row.astype(np.int64) * len(vocabulary) + code
    place.sort()
    first = np.flatnonzero(np.diff(place, prepend=-1))
    count = np.diff(first, append=len(place)).astype(np.float32)
    rows, terms = np.divmod(place[first], len(vocabulary))
    ends = np.cumsum(np.bincount(rows, minlength=len(texts)))
    pointers = np.concatenate([[0], ends]).astype(np.int32)
    shape = (len(texts), len(vocabulary))
    return sparse.csr_matrix((count, terms.astype(np.int32), pointers), shape=shape)


def coded_terms(texts: pl.Series, vocabulary: list[str]) -> tuple[Codes, Codes]:
    """(n_occurrences,) the text and the term, by their numbers, of each occurrence that is known.

    A term outside the vocabulary counts as what stands in for it.
    """
    known = pl.Enum(vocabulary)
    found = terms_of(texts).drop_nulls()
    code = found["term"].cast(known, strict=False).to_physical()
    rare = found.filter(code.is_null())
    stand_in = rare_term(pl.col("term")).cast(known, strict=False).to_physical()
    coded = pl.concat(
        [found.select("row", code=code), rare.select("row", code=stand_in)]
    ).drop_nulls()
    return coded["row"].to_numpy(), coded["code"].to_numpy()


def dampen(counts: Counts) -> Counts:
    """1 + log(count): the tenth occurrence of a word says little."""
    damped = counts.copy()
    damped.data = 1.0 + np.log(damped.data)
    return damped


def inverse_frequency(counts: Counts) -> npt.NDArray[np.float64]:
    """(n_terms,): log((1 + n) / (1 + texts with the term)) + 1, smoothed."""
    texts_with = np.bincount(counts.indices, minlength=counts.shape[1])
    idf: npt.NDArray[np.float64] = np.log((1 + counts.shape[0]) / (1 + texts_with)) + 1.0
    return idf


def weigh(counts: Counts, idf: npt.NDArray[np.float64]) -> Counts:
    """TF-IDF with L2 rows, as the decomposition sees it."""
    weighted = dampen(counts) @ sparse.diags(idf)
    norms = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1))).ravel()
    return (sparse.diags(1.0 / np.maximum(norms, 1e-12)) @ weighted).tocsr()
