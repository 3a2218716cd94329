"""Any Hugging Face text encoder, frozen: texts → pooled states of its last layer.

Texts are taken in their normalised form (`cluster.query.normalise_texts`), so that a vector is a
function of what a text's identity is. Texts are packed one behind the other where a trial shows
that the model allows it (BERT, RoBERTa, ...), else padded to the longest of a batch of like length.
In fp32 another batch changes a number of all-MiniLM-L6-v2 by at most 2e-7, in bf16 on a CPU by
1e-3, and not by more than 2e-8 where it is packed on a GPU.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, ValidationError

from cluster.encoders.encoder import Encoder, EncoderState, FittedEncoder, Vectors
from cluster.encoders.forward import Forward, Tokenized, ahead
from cluster.encoders.packing import can_be_packed
from cluster.encoders.pooling import Pooling
from cluster.encoders.pretrained import (
    Precision,
    architecture,
    find_folder,
    load_pretrained,
    read_json,
    rebuild_model,
    reserved_positions,
    weights_of,
)
from cluster.encoders.tokens import Cut, Ids, Keep, TextTokenizer
from cluster.errors import InputError
from cluster.query import normalise_texts
from cluster.state import State, Tensors

LOG = logging.getLogger("signalbox.encoder")

TOKENIZER_FILE = "tokenizer.json"
# Texts tokenized and sorted at a time: on a CPU many, so that those of a batch are of like length;
# on a GPU, where nothing is padded, few, so that it waits little for the first and the last. An
# H100 gives 46,000 MiniLM vectors a second in parts of 20,000 from one thread, 76,000 in parts of
# 4,096 from four and hardly more from eight; its forward pass alone 109,000.
CPU_TEXTS, GPU_TEXTS, FEWEST_TEXTS = 20_000, 4096, 1024
TOKENIZING_THREADS = 4
POOLING_MODES: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}


class FittedHuggingFace(FittedEncoder):
    """A loaded encoder.

    Attributes:
        settings: with pooling and length decided.
        precision: of the model's parameters.
        token_ids: texts → their token ids, cut.
        model: the transformers model, on its device, its parameters frozen.
    """

    name: ClassVar[str] = "huggingface"

    def __init__(
        self, model: Any, tokenizer: Any, *, settings: "HuggingFaceEncoder", precision: Precision
    ) -> None:
        """`model`: in fp32; `settings`: with `pooling` and `max_length` decided."""
        assert settings.pooling is not None
        self.settings = settings
        self.precision: Precision = precision
        self._tokenizer = tokenizer
        self.token_ids = TextTokenizer(
            tokenizer,
            cut=Cut(settings.max_length, settings.keep, settings.prefix),
        )
        # Told in fp32 and on the CPU; on a GPU the packed attention multiplies bf16 alone.
        first_position = reserved_positions(model)
        packs = can_be_packed(model, reserved=first_position)
        self.model = placed(model, precision=precision)
        self.forward = Forward(
            self.model,
            pooling=settings.pooling,
            padding=self.padding,
            batch_tokens=settings.batch_tokens,
            is_packed=packs and (precision == "bf16" or self.model.device.type == "cpu"),
            first_position=first_position,
        )

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self.model.config.hidden_size)

    @property
    def padding(self) -> int:
        """The token id behind a text that is shorter than its batch's longest."""
        return getattr(self.model.config, "pad_token_id", None) or 0

    def encode(self, texts: pl.Series) -> Vectors:
        """(n, dimensions) float32, L2-normalised; zeros where a text is null, blank or no token.

        Raises:
            InputError: the model gives values that are not numbers.
        """
        import torch

        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        size = self._part_size(len(texts))
        starts = range(0, len(texts), size)
        parts = (texts[start : start + size] for start in starts)
        with torch.inference_mode(), bounded_threads():
            found = map(self.forward, self._tokenized_parts(parts))
            for start, part in zip(starts, self.forward.settled(found), strict=True):
                vectors[start : start + len(part)] = part.numpy()
        if not np.isfinite(vectors).all():
            raise InputError(
                f"the encoder gives values that are not numbers in {self.precision}; "
                "set its precision to fp32"
            )
        return vectors

    def tokenized(self, texts: pl.Series) -> list[Ids]:
        """The token ids that `encode` reads of every text; none of a blank one."""
        normal = normalise_texts(texts)
        blank = (normal.fill_null("") == "").to_list()
        return [
            [] if skip else ids for skip, ids in zip(blank, self.token_ids(normal), strict=True)
        ]

    def with_weights(self, weights: Tensors) -> "FittedHuggingFace":
        """This encoder with other weights of its model, by name and in fp32.

        Raises:
            InputError: one is missing or of another shape.
        """
        model = rebuild_model(architecture(self.model.config), State({}, weights))
        return FittedHuggingFace(
            model, self._tokenizer, settings=self.settings, precision=self.precision
        )

    def _part_size(self, n_texts: int) -> int:
        """Texts tokenized at a time; for a GPU so few that no thread is idle at the start."""
        if not self.forward.on_gpu:
            return CPU_TEXTS
        return min(GPU_TEXTS, max(FEWEST_TEXTS, ceil(n_texts / TOKENIZING_THREADS)))

    def _tokenized_parts(self, parts: Iterable[pl.Series]) -> Iterator[Tokenized]:
        """On a GPU the next parts are tokenized meanwhile; a CPU's cores have enough to do."""
        if not self.forward.on_gpu:
            return map(self.sorted_by_length, parts)
        threads = max(1, min(TOKENIZING_THREADS, len(os.sched_getaffinity(0)) - 1))
        return ahead(self.sorted_by_length, parts, threads=threads)

    def sorted_by_length(self, texts: pl.Series) -> Tokenized:
        """What `tokenized` finds, as the model is given it."""
        normal = normalise_texts(texts)
        tokens, lengths = self.token_ids.flat(normal)
        blank = (normal.fill_null("") == "").to_numpy()
        # Some tokenizers have a token for nothing.
        kept = np.where(blank, 0, lengths)
        if not np.array_equal(kept, lengths):
            tokens = tokens[np.repeat(~blank, lengths)]
        return Tokenized.of(tokens, kept)

    def state(self) -> EncoderState:
        """The model's configuration, its weights and its tokenizer."""
        kept = self.settings.model_dump(mode="json", exclude={"model", "revision", "precision"})
        config = {**kept, "precision": self.precision, "model": architecture(self.model.config)}
        return EncoderState(
            config, weights_of(self.model), {TOKENIZER_FILE: self._tokenizer.to_str()}
        )

    @classmethod
    def from_state(cls, state: EncoderState) -> Self:
        """The inverse of `state`: nothing is fetched and nothing stored is run.

        Raises:
            InputError: a part is missing, unknown, or does not fit the others.
        """
        from tokenizers import Tokenizer

        names = ("pooling", "max_length", "keep", "prefix", "precision", "batch_tokens")
        try:
            settings = HuggingFaceEncoder.model_validate(
                {"model": "stored", **{name: state.config.get(name) for name in names}}
            )
            # tokenizers raises a bare Exception for a text it cannot read
            tokenizer = Tokenizer.from_str(state.text(TOKENIZER_FILE))
        except InputError:
            raise
        except ValidationError as error:
            fault = error.errors()[0]
            field = ".".join(map(str, fault["loc"]))
            raise InputError(f"damaged checkpoint: encoder's {field}: {fault['msg']}") from error
        except Exception as error:
            raise InputError(f"damaged checkpoint: {TOKENIZER_FILE}: {error}") from error
        if settings.pooling is None or settings.precision == "auto" or not settings.max_length:
            raise InputError("damaged checkpoint: the encoder's settings are not decided")
        model = rebuild_model(state.value("model", dict), State({}, state.tensors))
        return cls(model, tokenizer, settings=settings, precision=settings.precision)


class HuggingFaceEncoder(Encoder):
    """Settings of a pretrained encoder; what sentence-transformers keeps in a folder is read.

    Attributes:
        model: a local folder, or a hub's id.
        revision: of a hub's model; a commit's hash pins it.
        pooling: mean over tokens, first token, or last; None: the folder's, or the mean.
        max_length: tokens a text is cut to; 0: the folder's, or the model's own limit.
        keep: which end of a longer text is kept.
        prefix: put in front of every text, as some encoders ask for ("query: ").
        precision: of weights and sums in the model; auto: bf16 where the hardware multiplies it
            (a GPU, AVX512-BF16), else fp32. A checkpoint holds what was decided.
        batch_tokens: tokens of a batch, padding among them; 0: what suits the device.
    """

    name: ClassVar[str] = "huggingface"

    fitted: ClassVar[type[FittedEncoder]] = FittedHuggingFace
    is_slow: ClassVar[bool] = True

    model: str = Field(min_length=1)
    revision: str | None = None
    pooling: Pooling | None = None
    max_length: int = Field(default=0, ge=0, le=131_072)
    keep: Keep = "beginning"
    prefix: str = ""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    batch_tokens: int = Field(default=0, ge=0)

    def fit(self, texts: pl.Series, *, seed: int) -> FittedHuggingFace:  # noqa: ARG002
        """Load the model; nothing is learned from the texts.

        Raises:
            InputError: there is no such model, it is not a text encoder, its weights are pickled,
                or a setting does not fit it.
        """
        folder = find_folder(self.model, revision=self.revision)
        found = load_pretrained(folder)
        limit = self._max_length(folder, limit=found.limit)
        decided = {"max_length": limit, "pooling": self.pooling or stored_pooling(folder)}
        precision = best_precision() if self.precision == "auto" else self.precision
        encoder = FittedHuggingFace(
            found.model,
            found.tokenizer,
            settings=self.model_copy(update=decided),
            precision=precision,
        )
        _try_out(encoder, where=str(folder))
        return encoder

    def _max_length(self, folder: Path, *, limit: int) -> int:
        if self.max_length > limit:
            raise InputError(
                f"{folder}: max_length is {self.max_length}, but the model holds {limit} tokens"
            )
        stored = read_json(folder / "sentence_bert_config.json").get("max_seq_length")
        if self.max_length or not isinstance(stored, int) or stored <= 0:
            return self.max_length or limit
        return min(stored, limit)


def _try_out(encoder: FittedHuggingFace, *, where: str) -> None:
    """Make sure that a text has a vector.

    Raises:
        InputError: the model does not give one for token ids alone.
    """
    try:
        encoder.encode(pl.Series(["a text"]))
    except (AttributeError, TypeError, ValueError, RuntimeError, IndexError, KeyError) as error:
        raise InputError(f"{where}: not a text encoder ({error})") from error


def stored_pooling(folder: Path) -> Pooling:
    """The pooling sentence-transformers keeps beside a model; the mean where it keeps none.

    Raises:
        InputError: it is a kind that is not known here, or several at once.
    """
    if (folder / "2_Dense").is_dir():
        LOG.warning("%s: its dense layer behind the pooling is left out", folder)
    modes = read_json(folder / "1_Pooling" / "config.json")
    chosen = [name for name, on in modes.items() if name.startswith("pooling_mode_") and on is True]
    if not chosen:
        return "mean"
    if len(chosen) > 1 or chosen[0] not in POOLING_MODES:
        raise InputError(
            f"{folder}/1_Pooling/config.json: pools by {', '.join(chosen)}; known are "
            f"{', '.join(POOLING_MODES)}: choose one with the encoder's setting 'pooling'"
        )
    return POOLING_MODES[chosen[0]]


def best_precision() -> Precision:
    """bf16 where the hardware multiplies it, else fp32.

    On two cores with AVX512-BF16 all-MiniLM-L6-v2 encodes nearly twice as fast in bf16.
    """
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    able = torch.cpu.get_capabilities()
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


def placed(model: Any, *, precision: Precision) -> Any:
    """The model on the GPU if there is one, its parameters in this precision.

    Buffers stay in fp32: rotary frequencies in bf16 would move every position beyond 256.
    """
    import torch

    for parameter in model.parameters():
        parameter.requires_grad_(False)
        if precision == "bf16":
            parameter.data = parameter.data.to(torch.bfloat16)
    return model.to("cuda") if torch.cuda.is_available() else model


@contextmanager
def bounded_threads() -> Iterator[None]:
    """Hold torch to the cores this process may use, or to fewer if it was told so."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, len(os.sched_getaffinity(0)))))
    try:
        yield
    finally:
        torch.set_num_threads(before)
