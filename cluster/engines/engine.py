"""An engine: it loads one candidate and answers queries with it, a shard at a time."""

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from cluster.candidate import Candidate
from cluster.completion import Outcome, completions, seed_of
from cluster.errors import EngineError, InputError, SignalboxError


@dataclass(frozen=True)
class Request:
    """A query and the samples of its answer that are missing.

    Attributes:
        query_id: the query's identity.
        text: its text.
        samples: numbers of the missing samples, from 0.
        messages: the chat that leads to the query, for candidates with `chat: true`;
            None means one message of the user: `text`. A content that is a list has pieces that
            are no texts, which only an endpoint's chat can be asked.
    """

    query_id: str
    text: str
    samples: tuple[int, ...] = (0,)
    messages: tuple[Mapping[str, Any], ...] | None = None

    @property
    def is_more_than_text(self) -> bool:
        """Whether a message holds something else, such as an image."""
        return any(isinstance(turn.get("content"), list) for turn in self.messages or ())


MORE_THAN_TEXT = "a message holds more than text; only an endpoint with 'chat: true' can be asked"


class Engine(ABC):
    """A loaded candidate. Registered as an entry point of the group `signalbox.engines`.

    Engines live one after another in one process: `close` gives the memory back.

    Attributes:
        loads_weights: whether `Candidate.model` must be a model folder or a pinned hub id
            (an engine that calls an endpoint reads it as that endpoint's name for the model).
    """

    loads_weights: ClassVar[bool] = True

    @classmethod  # noqa: B027
    def check(cls, candidate: Candidate) -> None:
        """Refuse, before anything is loaded, what this engine cannot do.

        Raises:
            InputError: names the candidate's field and says what to do.
        """

    @abstractmethod
    def __init__(self, candidate: Candidate) -> None:
        """Load the candidate; EngineError if that cannot be done."""

    def expect(self, served_model: str) -> None:  # noqa: B027
        """Say what the answers in the lake were made by; others are refused by `answer`.

        Only an engine that calls an endpoint can be served another model under the same name.
        """

    @abstractmethod
    def answer(self, requests: Sequence[Request]) -> pl.DataFrame:
        """One row of `COMPLETION_SCHEMA` for every missing sample, in the order asked for.

        A row that cannot be answered has the outcome `error` and says why; the others are
        answered all the same. `seconds` is a row's share of the wall time of this call, in
        proportion to the engine steps it took part in (1 for its prompt + 1 for each token
        generated), or to the time until its reply: the column's sum is the time the engine was
        busy.

        Raises:
            StoppedError: it cannot go on; has what was answered by then.
            EngineError: it is broken, and nothing was answered.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the memory; the engine answers no more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StoppedError(EngineError):
    """An engine cannot go on in the middle of a shard.

    Attributes:
        rows: the answers it had by then, as `Engine.answer` gives them; they are paid for.
    """

    def __init__(self, message: str, *, rows: pl.DataFrame) -> None:
        super().__init__(message)
        self.rows = rows


@dataclass(frozen=True)
class Prompt:
    """One missing sample, ready to be generated.

    Attributes:
        query_id, sample: its key.
        token_ids: what the model reads; empty if `error`.
        seed: what the sample is drawn with.
        max_tokens: tokens it may have, within the candidate's limit (with what it may be extended
            by) and the model's context.
        error: why it cannot be generated, or None.
    """

    query_id: str
    sample: int
    token_ids: tuple[int, ...]
    seed: int
    max_tokens: int
    error: str | None = None


@dataclass(frozen=True)
class Generation:
    """What became of a prompt: `finish_reason` stop or length, or an `error`.

    `first_logprobs` is the column of the same name, as `first_logprobs` makes it.
    """

    text: str | None
    finish_reason: str | None
    completion_tokens: int
    error: str | None = None
    first_logprobs: str | None = None

    @property
    def outcome(self) -> Outcome:
        """ok, truncated at a length limit, or error."""
        if self.error is not None:
            return "error"
        return "truncated" if self.finish_reason == "length" else "ok"


class LocalEngine(Engine):
    """An engine that holds the weights and the tokenizer itself.

    Both of ours read the same token ids, so they agree about what the question is. Subclasses
    set the attributes when they load, and generate.

    Attributes:
        candidate: what is loaded.
        candidate_id: its identity.
        tokenizer: the model's tokenizer (Hugging Face).
        context: tokens of prompt and answer together that the model can hold.
    """

    candidate: Candidate
    candidate_id: str
    tokenizer: Any
    context: int

    @classmethod
    def check(cls, candidate: Candidate) -> None:
        """As `Engine.check`."""
        if candidate.endpoint is not None:
            raise InputError(
                f"field 'endpoint': engine '{candidate.engine}' runs the model itself; remove it, "
                "or use engine 'openai'"
            )

    @abstractmethod
    def generate(self, prompts: Sequence[Prompt]) -> list[Generation]:
        """Generate prompts that have no error; same order.

        An exception means that at least one of them cannot be generated; the engine must be
        ready for the next call all the same.
        """

    def answer(self, requests: Sequence[Request]) -> pl.DataFrame:
        """As `Engine.answer`; a prompt on which `generate` raises becomes an error row.

        Raises:
            EngineError: every query fails for the same reason: it is the engine that is broken.
        """
        start = time.perf_counter()
        prompts = self.prompts(requests)
        sound = [prompt for prompt in prompts if prompt.error is None]
        generated = iter(self._generate_sound(sound))
        generations = [
            Generation(None, None, 0, prompt.error) if prompt.error is not None else next(generated)
            for prompt in prompts
        ]
        return self._frame(prompts, generations, seconds=time.perf_counter() - start)

    def _generate_sound(self, prompts: Sequence[Prompt]) -> list[Generation]:
        """One generation a prompt; the errors of single prompts among them."""
        results = self._generate_apart(prompts) if prompts else []
        failures = [result for result in results if isinstance(result, Exception)]
        reasons = {_reason(failure) for failure in failures}
        # One query alone says nothing of the engine: it may be the last shard's only row.
        several = len({prompt.query_id for prompt in prompts}) > 1
        if several and len(failures) == len(results) and len(reasons) == 1:
            message = f"the engine fails on every query: {reasons.pop()}"
            raise EngineError(message) from failures[0]
        return [
            Generation(None, None, 0, f"the engine failed on it: {_reason(result)}")
            if isinstance(result, Exception)
            else result
            for result in results
        ]

    def _generate_apart(self, prompts: Sequence[Prompt]) -> list[Generation | Exception]:
        """Generate; where that raises, each half for itself, down to the prompts at fault."""
        try:
            generations = self.generate(prompts)
        except SignalboxError:
            raise
        # What the engine's libraries raise on a prompt is of any type; it is kept in its row.
        except Exception as error:  # noqa: BLE001
            if len(prompts) == 1:
                return [error]
            half = len(prompts) // 2
            return [*self._generate_apart(prompts[:half]), *self._generate_apart(prompts[half:])]
        if len(generations) != len(prompts):
            raise EngineError(f"the engine gave {len(generations)} answers to {len(prompts)}")
        return list(generations)

    def prompts(self, requests: Sequence[Request]) -> list[Prompt]:
        """Every missing sample as token ids with its seed, or with the reason it has none."""
        rendered = [render(request, self.candidate, self.tokenizer) for request in requests]
        texts = [text for text, error in rendered if error is None]
        ids = iter(self._tokenize(texts) if texts else [])
        return [
            self._prompt(request, sample, token_ids, reason)
            for request, (_, error) in zip(requests, rendered, strict=True)
            for token_ids, reason in [self._checked([] if error else next(ids), error)]
            for sample in request.samples
        ]

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        # A chat template writes the special tokens itself.
        encoded = self.tokenizer(texts, add_special_tokens=not self.candidate.chat)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _checked(self, token_ids: list[int], error: str | None) -> tuple[list[int], str | None]:
        if error is None and not token_ids:
            return [], "the prompt is empty: the tokenizer made no token of it"
        if error is None and len(token_ids) >= self.context:
            size = f"the prompt has {len(token_ids)} tokens"
            return [], f"{size}, the model holds {self.context} with the answer: shorten it"
        return token_ids, error

    def _prompt(
        self, request: Request, sample: int, token_ids: list[int], error: str | None
    ) -> Prompt:
        return Prompt(
            query_id=request.query_id,
            sample=sample,
            token_ids=tuple(token_ids),
            seed=seed_of(request.query_id, candidate_id=self.candidate_id, sample=sample),
            max_tokens=min(self._limit, self.context - len(token_ids)),
            error=error,
        )

    @property
    def _limit(self) -> int:
        # What an answer is extended by costs nothing until it is needed, so it goes on in the same
        # pass: the same text as asking again with the answer so far, and a stop string or a JSON
        # schema may lie across the border.
        return self.candidate.sampling.max_tokens + self.candidate.extend

    def _first_logprobs(self, token_ids: Iterable[int], logprobs: Iterable[float]) -> str:
        texts = [str(self.tokenizer.decode([token])) for token in token_ids]
        return first_logprobs(zip(texts, logprobs, strict=True))

    def _frame(
        self, prompts: Sequence[Prompt], generations: Sequence[Generation], *, seconds: float
    ) -> pl.DataFrame:
        steps = [0 if one.error else 1 + one.completion_tokens for one in generations]
        unit = seconds / max(sum(steps), 1)
        columns: dict[str, list[Any]] = {
            "query_id": [prompt.query_id for prompt in prompts],
            "candidate_id": [self.candidate_id] * len(prompts),
            "sample": [prompt.sample for prompt in prompts],
            "text": [one.text for one in generations],
            "finish_reason": [one.finish_reason for one in generations],
            "prompt_tokens": [len(prompt.token_ids) or None for prompt in prompts],
            "completion_tokens": [one.completion_tokens for one in generations],
            "seconds": [unit * n for n in steps],
            "outcome": [one.outcome for one in generations],
            "error": [one.error for one in generations],
            "first_logprobs": [one.first_logprobs for one in generations],
        }
        return completions(columns)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def render(request: Request, candidate: Candidate, tokenizer: Any) -> tuple[str, str | None]:
    """The text the model reads, or the reason there is none."""
    if not request.text.strip() and not request.messages:
        return "", "the query has no text"
    if request.is_more_than_text:
        return "", MORE_THAN_TEXT
    if not candidate.chat:
        return candidate.template.replace("{text}", request.text), None
    return _render_chat(messages_of(request, candidate=candidate), tokenizer=tokenizer)


def messages_of(request: Request, *, candidate: Candidate) -> list[Mapping[str, Any]]:
    """The chat a candidate is asked with.

    The candidate's system message is put first; a chat that has one already keeps it alone.
    """
    messages = list(request.messages or ({"role": "user", "content": request.text},))
    has_one = any(message.get("role") == "system" for message in messages)
    if candidate.system is None or has_one:
        return messages
    return [{"role": "system", "content": candidate.system}, *messages]


def _render_chat(messages: list[Mapping[str, Any]], *, tokenizer: Any) -> tuple[str, str | None]:
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    # ValueError: the tokenizer has no chat template. The others come from the template itself.
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        return "", f"the chat template failed: {error}"
    return str(text), None


def first_logprobs(likeliest: Iterable[tuple[str, float]]) -> str:
    """Tokens and their log probabilities as a JSON object, the likeliest first.

    Tokens of the same text count together; one that cannot come (log probability -inf, which JSON
    does not know) is left out.
    """
    together: dict[str, float] = {}
    for text, logprob in likeliest:
        if math.isfinite(logprob):
            together[text] = float(np.logaddexp(together.get(text, -math.inf), logprob))
    ordered = sorted(together.items(), key=lambda one: -one[1])
    return json.dumps(dict(ordered), ensure_ascii=False)


def stored_dtype(candidate: Candidate) -> str:
    """The number type to compute in: `auto` is the one the weights are stored in.

    vLLM's own `auto` turns float32 weights into 16 bits, so two engines would disagree, and on a
    CPU the text would depend on the batch.
    """
    if candidate.dtype != "auto":
        return candidate.dtype
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        candidate.model, revision=candidate.revision, trust_remote_code=False
    )
    return str(config.dtype or "float32").removeprefix("torch.")
