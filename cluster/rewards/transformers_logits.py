"""A reward model in transformers, for architectures that vLLM does not run."""

import gc
from collections.abc import Sequence
from typing import Any

from cluster.candidate import Candidate
from cluster.engines.engine import stored_dtype
from cluster.errors import EngineError, InputError
from cluster.rewards.logit_model import LogitModel
from cluster.rewards.reward_head import Pooling

# Tokens of a batch, padding included: its memory is bounded, and short answers share a pass.
_TOKENS_A_BATCH = 16_384


class TransformersLogits(LogitModel):
    """Logits of `AutoModelForSequenceClassification` (or of tokens: the last one's).

    Rows are sorted by length and padded on the right.
    """

    def __init__(self, candidate: Candidate, *, pooling: Pooling) -> None:
        """Load the model.

        Raises:
            EngineError: transformers could not load it.
            InputError: it holds less than `max_model_len`, or is of a kind transformers lacks.
        """
        from safetensors import SafetensorError

        self.name = candidate.model
        self._pooling = pooling
        try:
            self._model, self.tokenizer = _load(candidate, pooling=pooling)
        except (ValueError, RuntimeError, OSError, SafetensorError) as error:
            raise EngineError(f"transformers cannot load {candidate.model}: {error}") from error
        self.context = _context(candidate, config=self._model.config, tokenizer=self.tokenizer)
        self.padding = self._model.config.pad_token_id

    def logits(self, prompts: Sequence[Sequence[int]]) -> list[float]:
        import torch

        values = [0.0] * len(prompts)
        with torch.inference_mode():
            for rows in _batches(prompts):
                batch = self._batch([prompts[row] for row in rows])
                for row, value in zip(rows, batch, strict=True):
                    values[row] = value
        return values

    def close(self) -> None:
        import torch

        del self._model, self.tokenizer
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _batch(self, prompts: Sequence[Sequence[int]]) -> list[float]:
        import torch

        padding = self._padding(prompts)
        if padding is None and len(prompts) > 1:
            return [value for one in prompts for value in self._batch([one])]
        longest = max(map(len, prompts))
        ids = [[*one, *[padding or 0] * (longest - len(one))] for one in prompts]
        mask = [[1] * len(one) + [0] * (longest - len(one)) for one in prompts]
        device = self._model.device
        output = self._model(
            input_ids=torch.tensor(ids, device=device),
            attention_mask=torch.tensor(mask, device=device),
        )
        logits = output.logits.float()
        if self._pooling == "last_token":
            ends = torch.tensor([len(one) - 1 for one in prompts], device=device)
            logits = logits[torch.arange(len(prompts), device=device), ends]
        values: list[float] = logits[:, 0].cpu().tolist()
        return values

    def _padding(self, prompts: Sequence[Sequence[int]]) -> int | None:
        """A token to pad with, or None. Decoders find a text's end by it, so where the config
        names none it is one that occurs in no prompt of the batch, and the model is told."""
        config = self._model.config
        if self.padding is None:
            used = {token for one in prompts for token in one}
            free = (token for token in range(config.vocab_size) if token not in used)
            config.pad_token_id = next(free, None) if len(prompts) > 1 else None
        padding: int | None = config.pad_token_id
        return padding


def _load(candidate: Candidate, *, pooling: Pooling) -> tuple[Any, Any]:
    import torch
    import transformers

    kinds = {
        "classify": transformers.AutoModelForSequenceClassification,
        "last_token": transformers.AutoModelForTokenClassification,
    }
    places = {"revision": candidate.revision, "trust_remote_code": False}
    model, loading = kinds[pooling].from_pretrained(
        candidate.model,
        dtype=getattr(torch, stored_dtype(candidate)),
        use_safetensors=True,
        output_loading_info=True,
        **places,
    )
    # A head that is not in the file would be drawn by lot.
    if loading["missing_keys"]:
        raise InputError(
            f"{candidate.model}: transformers has no {model.__class__.__name__} for its weights "
            f"(missing: {', '.join(sorted(loading['missing_keys'])[:3])}); use 'engine: vllm'"
        )
    tokenizer = transformers.AutoTokenizer.from_pretrained(candidate.model, **places)
    device = "cuda" if candidate.resources.gpus and torch.cuda.is_available() else "cpu"
    return model.to(device).eval(), tokenizer


def _context(candidate: Candidate, *, config: Any, tokenizer: Any) -> int:
    # RoBERTa's positions begin behind its padding: 514 of them hold 512 tokens.
    limit = min(int(config.max_position_embeddings), int(tokenizer.model_max_length))
    wanted = candidate.max_model_len or limit
    if wanted > limit:
        raise InputError(
            f"max_model_len is {wanted}, but {candidate.model} holds {limit} tokens; lower it"
        )
    return wanted


def _batches(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Rows of batches of about equal length, the longest first."""
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]), reverse=True)
    batches: list[list[int]] = []
    for row in order:
        full = not batches or len(prompts[batches[-1][0]]) * (len(batches[-1]) + 1) > (
            _TOKENS_A_BATCH
        )
        if full:
            batches.append([])
        batches[-1].append(row)
    return batches
