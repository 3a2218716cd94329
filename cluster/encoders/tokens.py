"""Texts → token ids: cut to the encoder's length, and put together in batches of like length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from cluster.encoders.words import WordIds, spans, word_pattern
from cluster.errors import InputError

Keep = Literal["beginning", "end"]
Ids = list[int]
Integers = npt.NDArray[np.int64]

# English has about 4 characters a token. A text is cut to 100 a token before it is tokenized, so
# that a book costs what a page does.
CHARACTERS_PER_TOKEN = 100


@dataclass(frozen=True)
class Cut:
    """How a text becomes at most so many tokens.

    Attributes:
        max_length: tokens, special ones (`[CLS]`, `</s>`) and the prefix among them.
        keep: which end of a longer text is kept; the prefix always is.
        prefix: what is put in front of every text, as some encoders ask for ("query: ").
    """

    max_length: int
    keep: Keep
    prefix: str


class TextTokenizer:
    """A `tokenizers.Tokenizer` that cuts."""

    def __init__(self, tokenizer: Any, *, cut: Cut) -> None:
        """`tokenizer`: its own truncation and padding are turned off.

        Raises:
            InputError: special tokens and prefix leave no room for the text.
        """
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._cut = cut
        self._front, self._behind = special_tokens(tokenizer)
        # The blank behind a prefix belongs to the text's first token.
        self._n_prefix = len(self._ids([cut.prefix.rstrip()])[0])
        pattern = word_pattern(tokenizer)
        self._words = WordIds(self._ids, pattern=pattern) if pattern else None
        self._room = cut.max_length - len(self._front) - len(self._behind)
        if self._room <= self._n_prefix:
            raise InputError(
                f"max_length={cut.max_length} leaves no room for a text: special tokens and the "
                f"prefix {cut.prefix!r} take {cut.max_length - self._room + self._n_prefix}"
            )

    def __call__(self, texts: pl.Series) -> list[Ids]:
        """The token ids of every text; none for one without a token of its own."""
        return [self._fit(ids) for ids in self._ids(self._reached(texts).to_list())]

    def flat(self, texts: pl.Series) -> tuple[Integers, Integers]:
        """The same in one array, text by text, and how many ids each text has, (n,)."""
        if self._words is None or (self._n_prefix and self._cut.keep == "end"):
            ids = self(texts)
            lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
            found = np.fromiter(chain.from_iterable(ids), dtype=np.int64, count=int(lengths.sum()))
            return found, lengths
        return self._fit_all(*self._words(self._reached(texts)))

    def _reached(self, texts: pl.Series) -> pl.Series:
        """The texts behind the prefix, as much of them as could be kept."""
        reach = self._cut.max_length * CHARACTERS_PER_TOKEN
        known = texts.cast(pl.String).fill_null("")
        short = known.str.head(reach) if self._cut.keep == "beginning" else known.str.tail(reach)
        return self._cut.prefix + short if self._cut.prefix else short

    def _fit_all(self, ids: Integers, lengths: Integers) -> tuple[Integers, Integers]:
        """`_fit` of all texts at once; nothing is kept in front of an end that is kept."""
        kept = np.where(lengths > self._n_prefix, np.minimum(lengths, self._room), 0)
        starts = np.cumsum(lengths) - lengths
        if self._cut.keep == "end":
            starts += lengths - kept
        front, behind = len(self._front), len(self._behind)
        fitted = np.where(kept > 0, kept + front + behind, 0)
        found = np.empty(int(fitted.sum()), dtype=np.int64)
        begins, filled = np.cumsum(fitted) - fitted, kept > 0
        found[spans(begins + front, kept)] = ids[spans(starts, kept)]
        for place, token in enumerate(self._front):
            found[begins[filled] + place] = token
        for place, token in enumerate(self._behind):
            found[(begins + front + kept)[filled] + place] = token
        return found, fitted

    def _ids(self, texts: Sequence[str]) -> list[Ids]:
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def _fit(self, ids: Ids) -> Ids:
        if len(ids) <= self._n_prefix:
            return []
        if len(ids) > self._room and self._cut.keep == "beginning":
            ids = ids[: self._room]
        elif len(ids) > self._room:
            ids = ids[: self._n_prefix] + ids[self._n_prefix - self._room :]
        return [*self._front, *ids, *self._behind]


def special_tokens(tokenizer: Any) -> tuple[Ids, Ids]:
    """The ids a tokenizer puts in front of a text and behind it."""
    encoding = tokenizer.encode("a")
    own = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
    first, last = (own[0], own[-1]) if own else (len(encoding.ids), len(encoding.ids))
    return encoding.ids[:first], encoding.ids[last + 1 :]


def batches(
    lengths: npt.NDArray[np.int64], *, batch_tokens: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of like length together, short ones first, up to `batch_tokens` with their padding.

    Each row is in one batch; rows of length 0 are in none. A row longer than `batch_tokens` is
    alone in its batch.
    """
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end + 1 - start) * lengths[order[end]] <= batch_tokens:
            end += 1
        yield order[start:end]
        start = end


def padded(
    ids: Sequence[Ids] | Sequence[npt.NDArray[np.int64]], *, padding: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Ids and mask, each (n, longest), padding behind."""
    lengths = np.array([len(row) for row in ids])
    mask = np.arange(lengths.max()) < lengths[:, None]
    table = np.full(mask.shape, padding, dtype=np.int64)
    table[mask] = np.concatenate([np.asarray(row, dtype=np.int64) for row in ids])
    return table, mask.astype(np.int64)
