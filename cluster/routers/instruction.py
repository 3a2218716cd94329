"""An instruction whose answer is one of a few labels: the label is the language model's next token.

Sent are the special tokens in front, the instruction up to the query, the query cut to what room
is left, and the rest of the instruction with what the labels have in common. The next token of
each label then tells them apart: `Grade: 1` may be one token less, or more, than it looks.
"""

from typing import Any

import numpy as np
import polars as pl

from cluster.encoders.tokens import CHARACTERS_PER_TOKEN, Ids, special_tokens
from cluster.errors import InputError
from cluster.query import normalise_texts

PLACE = "{text}"


class Instruction:
    """Texts → token ids of the whole instruction.

    Attributes:
        label_ids: the next token of each label.
    """

    def __init__(
        self, tokenizer: Any, *, template: str, labels: tuple[str, ...], max_length: int
    ) -> None:
        """`tokenizer`: a `tokenizers.Tokenizer`; its own truncation and padding are turned off.

        Raises:
            InputError: labels are not told apart by a next token, or no room is left for a text.
        """
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        head, _, tail = template.partition(PLACE)
        endings = [self._ids([f"{tail} {label}"])[0] for label in labels]
        self._behind, self.label_ids = parted(endings, labels=labels)
        self._front = special_tokens(tokenizer)[0] + self._ids([head])[0]
        self._room = max_length - len(self._front) - len(self._behind)
        if self._room < 1:
            raise InputError(
                f"max_length={max_length} leaves no room for a query: the instruction takes "
                f"{max_length - self._room} tokens; shorten 'template'"
            )

    def __call__(self, texts: pl.Series) -> list[Ids]:
        """The token ids of every text, as its identity has it; of a longer one the beginning."""
        reach = self._room * CHARACTERS_PER_TOKEN
        short = normalise_texts(texts).fill_null("").str.head(reach)
        found = self._ids(short.to_list(), plain=True)
        return [[*self._front, *ids[: self._room], *self._behind] for ids in found]

    def _ids(self, texts: list[str], *, plain: bool = False) -> list[Ids]:
        """`plain`: what looks like a special token in a query is text like any other."""
        self._tokenizer.encode_special_tokens = plain
        found = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        self._tokenizer.encode_special_tokens = False
        return [encoding.ids for encoding in found]


def parted(endings: list[Ids], *, labels: tuple[str, ...]) -> tuple[Ids, Ids]:
    """What the endings have in common, and the token behind it of each.

    Raises:
        InputError: two of them go on with the same token, or one ends there.
    """
    shared = 0
    shortest = min(map(len, endings))
    while shared < shortest and len({ids[shared] for ids in endings}) == 1:
        shared += 1
    following = [ids[shared] for ids in endings if len(ids) > shared]
    if len(np.unique(following)) < len(endings):
        raise InputError(
            f"the base model's tokenizer does not tell the labels {', '.join(labels)} apart by "
            "their first token: set 'labels' to words that differ from the beginning"
        )
    return endings[0][:shared], following
