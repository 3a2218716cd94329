"""The transformers engine: plain PyTorch generation, for what vLLM does not run."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.candidate import Candidate
from cluster.engines.engine import Generation, LocalEngine, Prompt, stored_dtype
from cluster.errors import EngineError, InputError
from cluster.sampling import Sampling

_BATCH = 64
_BORDER = 8


@dataclass
class _Row:
    """A sample while it grows."""

    prompt: Prompt
    generator: Any
    token_ids: list[int] = field(default_factory=list)
    first_logprobs: str | None = None
    done: Generation | None = None


class TransformersEngine(LocalEngine):
    """A candidate in transformers.

    The loop is our own because `generate` has one random state for a whole batch: here every
    row draws with a generator of its own (`argmax p / e`, e ~ Exp(1), which is a draw from p),
    so a text does not depend on its neighbours. Rows are sorted by length and padded on the
    left, `_BATCH` at a time.
    """

    @classmethod
    def check(cls, candidate: Candidate) -> None:
        """As `Engine.check`: nothing here holds an answer to a JSON schema."""
        super().check(candidate)
        if candidate.sampling.json_schema is not None:
            raise InputError(
                "field 'sampling.json_schema': engine 'transformers' writes free text; use engine "
                "'vllm' or 'openai', or remove it"
            )

    def __init__(self, candidate: Candidate) -> None:
        """Load the candidate.

        Raises:
            EngineError: transformers could not load it, or it holds less than `max_model_len`.
        """
        from safetensors import SafetensorError

        self.candidate = candidate
        self.candidate_id = candidate.candidate_id
        try:
            self._model, self.tokenizer = _load(candidate)
        except (ValueError, RuntimeError, OSError, SafetensorError) as error:
            message = f"candidate '{candidate.name}': cannot load {candidate.model}: {error}"
            raise EngineError(message) from error
        self.context = _context(candidate, self._model.config)
        self._ends = _end_tokens(self._model, self.tokenizer)

    def generate(self, prompts: Sequence[Prompt]) -> list[Generation]:
        import torch

        rows = [_Row(prompt, torch.Generator().manual_seed(prompt.seed)) for prompt in prompts]
        ordered = sorted(rows, key=lambda row: len(row.prompt.token_ids))
        with torch.inference_mode():
            for start in range(0, len(ordered), _BATCH):
                self._generate_batch(ordered[start : start + _BATCH])
        return [row.done for row in rows if row.done is not None]

    def close(self) -> None:
        """Free the weights."""
        import torch

        del self._model, self.tokenizer
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _generate_batch(self, rows: Sequence[_Row]) -> None:
        import torch

        device = self._model.device
        ids, mask = _left_padded([row.prompt.token_ids for row in rows], device=device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = None
        while any(row.done is None for row in rows):
            output = self._model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = output.past_key_values
            chosen = self._step(rows, output.logits[:, -1].float().cpu())
            ids = torch.tensor(chosen, device=device)[:, None]
            mask = torch.cat([mask, torch.ones_like(ids)], dim=-1)
            positions = positions[:, -1:] + 1

    def _step(self, rows: Sequence[_Row], logits: Any) -> list[int]:
        """Add one token to every row that is not done; the tokens to feed back, one a row."""
        sampling = self.candidate.sampling
        if sampling.logprobs and not rows[0].token_ids:
            self._keep_likeliest(rows, logits)
        for row, row_logits in zip(rows, logits, strict=True):
            _penalise(row_logits, row, penalty=sampling.repetition_penalty)
        weights = _weights(logits, sampling)
        for row, row_logits, row_weights in zip(rows, logits, weights, strict=True):
            if row.done is None and row_logits.isnan().any():
                reason = "the model's logits are not numbers (NaN)"
                row.done = Generation(None, None, len(row.token_ids), reason)
            elif row.done is None:
                row.token_ids.append(_draw(row_weights, row.generator, sampling))
                row.done = self._finished(row)
        return [row.token_ids[-1] if row.token_ids else 0 for row in rows]

    def _keep_likeliest(self, rows: Sequence[_Row], logits: Any) -> None:
        """The first tokens' log probabilities, of logits that are as the model gave them."""
        wanted = min(self.candidate.sampling.logprobs, logits.shape[-1])
        best = logits.log_softmax(-1).topk(wanted)
        for row, tokens, values in zip(rows, best.indices, best.values, strict=True):
            row.first_logprobs = self._first_logprobs(tokens.tolist(), values.tolist())

    def _finished(self, row: _Row) -> Generation | None:
        tokens = len(row.token_ids)
        if row.token_ids[-1] in self._ends:
            return _done(row, self._text(row, row.token_ids[:-1]), "stop")
        stops = self.candidate.sampling.stop
        if stops:
            text = self._text(row, row.token_ids)
            found = [text.index(stop) for stop in stops if stop in text]
            if found:
                return _done(row, text[: min(found)], "stop")
        if tokens >= row.prompt.max_tokens:
            return _done(row, self._text(row, row.token_ids), "length")
        return None

    def _text(self, row: _Row, token_ids: list[int]) -> str:
        # Some tokenizers drop the blank of a first word, so the prompt's end is decoded with it.
        border = list(row.prompt.token_ids[-_BORDER:])
        before = str(self.tokenizer.decode(border, skip_special_tokens=True))
        whole = str(self.tokenizer.decode(border + token_ids, skip_special_tokens=True))
        if whole.startswith(before):
            return whole[len(before) :]
        return str(self.tokenizer.decode(token_ids, skip_special_tokens=True))


def _done(row: _Row, text: str, reason: str) -> Generation:
    return Generation(text, reason, len(row.token_ids), first_logprobs=row.first_logprobs)


def _load(candidate: Candidate) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(
        candidate.model,
        revision=candidate.revision,
        dtype=getattr(torch, stored_dtype(candidate)),
        use_safetensors=True,
        trust_remote_code=False,
    )
    tokenizer = AutoTokenizer.from_pretrained(
        candidate.tokenizer or candidate.model,
        revision=None if candidate.tokenizer else candidate.revision,
        trust_remote_code=False,
    )
    device = "cuda" if candidate.resources.gpus and torch.cuda.is_available() else "cpu"
    return model.to(device).eval(), tokenizer


def _context(candidate: Candidate, config: Any) -> int:
    limit = int(config.max_position_embeddings)
    wanted = candidate.max_model_len or limit
    if wanted > limit:
        raise EngineError(
            f"candidate '{candidate.name}': max_model_len is {wanted}, but {candidate.model} "
            f"holds {limit} tokens; lower it"
        )
    return wanted


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokenizer's end token and those of the generation config, as vLLM takes them."""
    configured = model.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in [*ends, tokenizer.eos_token_id] if token is not None)


def _left_padded(token_ids: Sequence[tuple[int, ...]], *, device: Any) -> tuple[Any, Any]:
    """Ids and mask, each (n_rows, longest); padding is masked, so its id does not matter."""
    import torch

    longest = max(len(ids) for ids in token_ids)
    pads = [longest - len(ids) for ids in token_ids]
    ids = [[0] * pad + list(row) for pad, row in zip(pads, token_ids, strict=True)]
    mask = [[0] * pad + [1] * (longest - pad) for pad in pads]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _penalise(logits: Any, row: _Row, *, penalty: float) -> None:
    """Divide positive and multiply negative logits of the tokens seen so far, in place."""
    import torch

    if penalty == 1.0:
        return
    seen = torch.tensor(sorted({*row.prompt.token_ids, *row.token_ids}))
    values = logits[seen]
    logits[seen] = torch.where(values > 0, values / penalty, values * penalty)


def _weights(logits: Any, sampling: Sampling) -> Any:
    """(n_rows, vocabulary): what to draw from; for a greedy candidate the logits themselves."""
    if sampling.temperature == 0:
        return logits
    scaled = logits / sampling.temperature
    if sampling.min_p > 0:
        probabilities = scaled.softmax(-1)
        floor = sampling.min_p * probabilities.amax(-1, keepdim=True)
        scaled = scaled.masked_fill(probabilities < floor, -float("inf"))
    if sampling.top_k > 0:
        least = scaled.topk(min(sampling.top_k, scaled.shape[-1])).values[:, -1:]
        scaled = scaled.masked_fill(scaled < least, -float("inf"))
    if sampling.top_p < 1:
        scaled = _nucleus(scaled, top_p=sampling.top_p)
    return scaled.softmax(-1)


def _nucleus(logits: Any, *, top_p: float) -> Any:
    """Keep the fewest likely tokens whose probability together reaches `top_p`."""
    ascending, order = logits.sort(dim=-1)
    dropped = ascending.softmax(-1).cumsum(-1) <= 1 - top_p
    dropped[:, -1] = False
    return logits.masked_fill(dropped.scatter(-1, order, dropped), -float("inf"))


def _draw(weights: Any, generator: Any, sampling: Sampling) -> int:
    import torch

    if sampling.temperature == 0:
        return int(weights.argmax())
    noise = torch.empty_like(weights).exponential_(generator=generator)
    return int((weights / noise).argmax())
