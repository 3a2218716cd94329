"""Token ids → vectors, in the batches that suit the device.

Batches are of texts of like length. Where the model can be packed (`cluster.encoders.packing`) a
batch has no padding; elsewhere each text is padded to the batch's longest. On a GPU nothing waits
for a result until the next part's work has been handed over.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from cluster.encoders.packing import Packing, groups_of
from cluster.encoders.pooling import Pooling, pool, pool_packed
from cluster.encoders.tokens import Integers, batches, padded
from cluster.encoders.words import spans

Item = TypeVar("Item")
Made = TypeVar("Made")

# Tokens of a batch: more than the CPU's caches hold slow it down (161 queries/s of MiniLM in bf16
# at 512 to 2,048 tokens, 153 at 4,096, 125 at 16,384); a GPU waits for the next batch's launch.
CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 2048, 131_072


@dataclass(frozen=True)
class Tokenized:
    """Texts' token ids in one array, short texts first.

    Attributes:
        n_texts: those without a token among them.
        rows: (n,) whose ids they are; none without a token.
        lengths: (n,) tokens of each.
        tokens: (all tokens,) int64.
    """

    n_texts: int
    rows: Integers
    lengths: Integers
    tokens: Integers

    @classmethod
    def of(cls, tokens: Integers, lengths: Integers) -> "Tokenized":
        """Sorted by length; of equal lengths the first comes first.

        Args:
            tokens: ids text by text, in the order of the texts.
            lengths: (n_texts,) how many each has.
        """
        rows = np.argsort(lengths, kind="stable")
        rows = rows[lengths[rows] > 0]
        starts = np.cumsum(lengths) - lengths
        return cls(len(lengths), rows, lengths[rows], tokens[spans(starts[rows], lengths[rows])])


class Forward:
    """A model that is asked for vectors.

    Attributes:
        model: on its device.
        is_packed: whether its texts are packed.
        batch_tokens: of a batch, padding among them.
    """

    def __init__(
        self,
        model: Any,
        *,
        pooling: Pooling,
        padding: int,
        batch_tokens: int,
        is_packed: bool,
        first_position: int,
    ) -> None:
        """`batch_tokens`: 0 for what suits the device."""
        self.model = model
        self.is_packed = is_packed
        self.on_gpu = model.device.type == "cuda"
        self.batch_tokens = batch_tokens or (GPU_BATCH_TOKENS if self.on_gpu else CPU_BATCH_TOKENS)
        self._pooling: Pooling = pooling
        self._padding = padding
        self._first_position = first_position

    def __call__(self, found: Tokenized) -> Any:
        """(n_texts, d) float32, on its way to the CPU; zeros for texts without a token."""
        import torch

        width = int(self.model.config.hidden_size)
        vectors = torch.zeros((found.n_texts, width), device=self.model.device)
        if len(found.rows):
            run = self._packed if self.is_packed else self._padded
            rows = self._moved(found.rows)
            for start, end, part in run(found):
                vectors[rows[start:end]] = part
        return vectors.to("cpu", non_blocking=True)

    def _packed(self, found: Tokenized) -> Iterator[tuple[int, int, Any]]:
        ends = np.cumsum(found.lengths)
        starts = ends - found.lengths
        tokens, lengths = self._moved(found.tokens)[None], self._moved(found.lengths)
        positions = self._positions(self._moved(starts), lengths=lengths, n=len(found.tokens))
        borders = self._moved(np.concatenate([[0], ends]).astype(np.int32))
        for rows in batches(found.lengths, batch_tokens=self.batch_tokens):
            start, end = int(rows[0]), int(rows[-1]) + 1
            part = slice(int(starts[start]), int(ends[end - 1]))
            packing = Packing(
                lengths[start:end],
                borders[start : end + 1] - borders[start],
                groups_of(found.lengths[start:end]),
                int(found.lengths[end - 1]),
            )
            output = self.model(
                input_ids=tokens[:, part], position_ids=positions[:, part], packing=packing
            )
            yield start, end, pool_packed(output.last_hidden_state[0], packing, how=self._pooling)

    def _positions(self, starts: Any, *, lengths: Any, n: int) -> Any:
        """(1, n): of each token in its text."""
        import torch

        before = torch.repeat_interleave(starts, lengths, output_size=n)
        return (torch.arange(n, device=before.device) - before + self._first_position)[None]

    def _padded(self, found: Tokenized) -> Iterator[tuple[int, int, Any]]:
        texts = np.split(found.tokens, np.cumsum(found.lengths)[:-1])
        for rows in batches(found.lengths, batch_tokens=self.batch_tokens):
            start, end = int(rows[0]), int(rows[-1]) + 1
            table, mask = map(self._moved, padded(texts[start:end], padding=self._padding))
            output = self.model(input_ids=table, attention_mask=mask)
            yield start, end, pool(output.last_hidden_state, mask, how=self._pooling)

    def _moved(self, array: npt.NDArray[Any]) -> Any:
        import torch

        tensor = torch.from_numpy(array)
        if not self.on_gpu:
            return tensor
        return tensor.pin_memory().to(self.model.device, non_blocking=True)

    def settled(self, found: Iterable[Any]) -> Iterator[Any]:
        """The same tensors, each once it is there, and not before the next one was asked for."""
        if not self.on_gpu:
            yield from found
            return
        import torch

        waiting = None
        for tensor in found:
            done = torch.cuda.Event()
            done.record()
            if waiting is not None:
                waiting[1].synchronize()
                yield waiting[0]
            waiting = (tensor, done)
        if waiting is not None:
            waiting[1].synchronize()
            yield waiting[0]


def ahead(make: Callable[[Item], Made], items: Iterable[Item], *, threads: int) -> Iterator[Made]:
    """What is made of each item, in order, the next ones in threads of their own meanwhile."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Made]] = deque()
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
