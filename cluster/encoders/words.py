"""Token ids by way of words: texts share most of theirs, so each is tokenized once.

Only for tokenizers that see words apart (BERT's): there a text's ids are those of its words one
after the other. Of RouterDC's queries, 270 characters each, one core turns 13,000 a second into ids
as texts; as words 25,000, and 100,000 once it knows most of them. A GPU would wait for less.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Integers = npt.NDArray[np.int64]

# Words kept; with more of them all are forgotten, as in a file of one-off names and numbers.
WORDS_KEPT = 1_000_000

BETWEEN_BLANKS = r"\S+"
# BERT's normaliser puts blanks around these, among others: the ideographs of most texts.
IDEOGRAPHS = r"\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}"
BESIDE_IDEOGRAPHS = rf"[{IDEOGRAPHS}]|[^\s{IDEOGRAPHS}]+"


class WordIds:
    """Texts → token ids, by words that are remembered."""

    def __init__(self, encode: Callable[[Sequence[str]], list[list[int]]], *, pattern: str) -> None:
        """`encode`: words → their ids, without special tokens; `pattern`: of a word."""
        self._encode = encode
        self._pattern = pattern
        self._forget()

    def _forget(self) -> None:
        self._words = pl.DataFrame(schema={"word": pl.String, "place": pl.Int64})
        self._ids = np.zeros(0, dtype=np.int64)
        self._ends = np.zeros(1, dtype=np.int64)

    def __call__(self, texts: pl.Series) -> tuple[Integers, Integers]:
        """Ids of all texts one after the other, and how many each has, (n,).

        Args:
            texts: strings, none null.
        """
        found = texts.str.extract_all(self._pattern)
        words = pl.DataFrame({"word": found.explode(empty_as_null=False)})
        self._learn(words["word"])
        places = words.join(self._words, on="word", how="left", maintain_order="left")["place"]
        place = places.to_numpy()
        starts, ends = self._ends[place], self._ends[place + 1]
        borders = np.concatenate([[0], np.cumsum(ends - starts)])
        last = np.concatenate([[0], np.cumsum(found.list.len().to_numpy().astype(np.int64))])
        return self._ids[spans(starts, ends - starts)], np.diff(borders[last])

    def _learn(self, words: pl.Series) -> None:
        """Tokenize the words that are new."""
        if len(self._words) > WORDS_KEPT:
            self._forget()
        unique = pl.DataFrame({"word": words.unique()})
        new = unique.join(self._words, on="word", how="anti")["word"]
        if new.is_empty():
            return
        ids = self._encode(new.to_list())
        known = len(self._words)
        places = pl.int_range(known, known + len(new), eager=True)
        self._words = pl.concat([self._words, pl.DataFrame({"word": new, "place": places})])
        lengths = np.array([len(one) for one in ids], dtype=np.int64)
        flat = np.fromiter((token for one in ids for token in one), np.int64, int(lengths.sum()))
        self._ids = np.concatenate([self._ids, flat])
        self._ends = np.concatenate([self._ends, self._ends[-1] + np.cumsum(lengths)])


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
