"""Token ids by way of words: texts share most of theirs, so each is tokenized once.

Only for tokenizers that see words apart (BERT's): there a text's ids are those of its words one
after the other. Of RouterDC's queries, 270 characters each, a core second turns 13,000 into ids as
texts; as words 25,000, and 145,000 once it knows them. A GPU would wait for less.
"""

import json
from collections.abc import Callable, Sequence
from itertools import chain
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Integers = npt.NDArray[np.int64]

# Words kept; with more of them all are forgotten, as in a file of one-off names and numbers.
WORDS_KEPT = 1_000_000

# As BERT sees blanks: it cuts out other control characters, so that what they part is one word.
BLANKS = r"\t\n\r\p{Z}"
BETWEEN_BLANKS = rf"[^{BLANKS}]+"
# BERT's normaliser puts blanks around these, among others: the ideographs of most texts.
IDEOGRAPHS = r"\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}"
BESIDE_IDEOGRAPHS = rf"[{IDEOGRAPHS}]|[^{BLANKS}{IDEOGRAPHS}]+"


class WordIds:
    """Texts → token ids, by words that are remembered; several threads may ask."""

    def __init__(self, encode: Callable[[Sequence[str]], list[list[int]]], *, pattern: str) -> None:
        """`encode`: words → their ids, without special tokens; `pattern`: of a word."""
        self._encode = encode
        self._pattern = pattern
        # polars' numbering of words is not to be asked by two threads at once.
        self._lock = Lock()
        self._forget()

    def _forget(self) -> None:
        # polars numbers words as long as a series holds the numbering.
        self._numbering = pl.Series([], dtype=pl.Categorical(pl.Categories.random()))
        self._ids = np.zeros(0, dtype=np.int64)
        # By a word's number: where its ids start, and how many they are; -1 is not known yet.
        self._starts = np.zeros(0, dtype=np.int64)
        self._lengths = np.zeros(0, dtype=np.int64)

    def __call__(self, texts: pl.Series) -> tuple[Integers, Integers]:
        """Ids of all texts one after the other, and how many each has, (n,).

        Args:
            texts: strings, none null.
        """
        found = texts.str.extract_all(self._pattern)
        with self._lock:
            numbers = self._learned(found.explode(empty_as_null=False))
            # Whoever learns more leaves the places of these numbers as they are.
            ids, starts, lengths = self._ids, self._starts, self._lengths
        starts, lengths = starts[numbers], lengths[numbers]
        borders = np.concatenate([[0], np.cumsum(lengths)])
        last = np.concatenate([[0], np.cumsum(found.list.len().to_numpy().astype(np.int64))])
        return ids[spans(starts, lengths)], np.diff(borders[last])

    def _learned(self, words: pl.Series) -> Integers:
        """(n,) the words' numbers; those that are new are tokenized."""
        if len(self._lengths) > WORDS_KEPT:
            self._forget()
        numbers = words.cast(self._numbering.dtype).to_physical().to_numpy().astype(np.int64)
        self._make_room(int(numbers.max(initial=-1)) + 1 - len(self._lengths))
        new = np.flatnonzero(self._lengths[numbers] < 0)
        if len(new):
            which, first = np.unique(numbers[new], return_index=True)
            self._keep(which, ids=self._encode(words.gather(new[first]).to_list()))
        return numbers

    def _make_room(self, more: int) -> None:
        if more > 0:
            unknown = np.full(more, -1, dtype=np.int64)
            self._starts = np.concatenate([self._starts, unknown])
            self._lengths = np.concatenate([self._lengths, unknown])

    def _keep(self, numbers: Integers, *, ids: list[list[int]]) -> None:
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = np.fromiter(chain.from_iterable(ids), np.int64, int(lengths.sum()))
        starts = len(self._ids) + np.cumsum(lengths) - lengths
        self._starts[numbers], self._lengths[numbers] = starts, lengths
        self._ids = np.concatenate([self._ids, flat])


def spans(starts: Integers, lengths: Integers) -> Integers:
    """The places of several spans, one after the other."""
    before = np.cumsum(lengths) - lengths
    within: Integers = np.arange(int(lengths.sum()), dtype=np.int64)
    within += np.repeat(starts - before, lengths)
    return within


def word_pattern(tokenizer: Any) -> str | None:
    """The pattern of what a `tokenizers.Tokenizer` sees apart; None where it sees whole texts."""
    parts = json.loads(tokenizer.to_str())
    normaliser = parts.get("normalizer") or {}
    sees_words = (
        (parts.get("pre_tokenizer") or {}).get("type") == "BertPreTokenizer"
        and normaliser.get("type") == "BertNormalizer"
        and parts["model"].get("type") == "WordPiece"
        # One such token would be cut at its blank.
        and not any(
            character.isspace() for t in parts["added_tokens"] for character in t["content"]
        )
    )
    if not sees_words:
        return None
    return BESIDE_IDEOGRAPHS if normaliser.get("handle_chinese_chars") else BETWEEN_BLANKS
