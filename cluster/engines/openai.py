"""The openai engine: a candidate that an OpenAI-compatible endpoint serves."""

import asyncio
import re
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import polars as pl

from cluster.candidate import Candidate
from cluster.completion import completions, seed_of
from cluster.engines.engine import MORE_THAN_TEXT, Engine, Request, StoppedError, messages_of
from cluster.engines.openai_reply import Reply, quoted, read_reply, said
from cluster.errors import EngineError, InputError
from cluster.price import TOKENS_PER_UNIT

# With these no request can succeed: no key, no money, no such model.
_HOPELESS = (401, 402, 404)
_FORBIDDEN = 403
_TOO_MANY = 429
# Numbers and ids that make two messages of the same trouble differ.
_CHANGING = re.compile(r"[0-9a-f-]{8,}|\d+")
_NOT_OURS = ("tokenizer", "dtype", "max_model_len")

T = TypeVar("T")


@dataclass(frozen=True)
class _Ask:
    """One missing sample: the request's body, or why there is none."""

    query_id: str
    sample: int
    body: dict[str, Any]
    error: str | None = None


@dataclass(frozen=True)
class _Answer:
    """What came of it: a reply, after so many seconds; `broken` if the endpoint is to blame."""

    reply: Reply
    seconds: float = 0.0
    broken: bool = False


class OpenAIEngine(Engine):
    """A candidate behind an endpoint, asked for one sample a request.

    So that a sample does not depend on the others, each has a seed of its own and `n` is not used;
    a server with a prefix cache reads the prompt once all the same.
    """

    loads_weights: ClassVar[bool] = False

    @classmethod
    def check(cls, candidate: Candidate) -> None:
        """As `Engine.check`."""
        if candidate.endpoint is None:
            raise InputError(
                "field 'endpoint' is missing: engine 'openai' needs {url: …}, and key_variable for "
                "an endpoint with keys"
            )
        for field in _NOT_OURS:
            if getattr(candidate, field) != Candidate.model_fields[field].default:
                raise InputError(f"field '{field}' is the endpoint's own affair; remove it")
        if candidate.resources.gpus or candidate.resources.replicas > 1:
            raise InputError(
                "field 'resources': an endpoint needs no GPU and no replicas here; raise "
                "'endpoint.concurrency' for more requests at a time"
            )

    def __init__(self, candidate: Candidate) -> None:
        """Read the key and see whether the endpoint is there.

        Raises:
            EngineError: the key's variable is not set, the endpoint cannot be reached or refuses
                the key.
        """
        from cluster.engines.openai_client import Client

        self.check(candidate)
        assert candidate.endpoint is not None
        self.candidate = candidate
        self.candidate_id = candidate.candidate_id
        self._endpoint = candidate.endpoint
        self._client = Client(self._endpoint)
        self._served = candidate.revision
        self._limit = "max_tokens"
        self._succeeded = False
        self._runner = asyncio.Runner()
        try:
            self._run(self._look())
        except EngineError:
            self.close()
            raise

    def expect(self, served_model: str) -> None:
        """As `Engine.expect`; a candidate's own `revision` goes first."""
        self._served = self._served or served_model

    def answer(self, requests: Sequence[Request]) -> pl.DataFrame:
        """As `Engine.answer`.

        Raises:
            StoppedError: no request can succeed any more, or the model has changed.
            EngineError: the endpoint fails on every query alike.
        """
        start = time.perf_counter()
        asks = [self._ask(one, sample) for one in requests for sample in one.samples]
        answers: list[_Answer | None] = [None] * len(asks)
        try:
            self._run(self._answer_all(asks, answers))
        except EngineError as error:
            had = [(a, b) for a, b in zip(asks, answers, strict=True) if b and not b.reply.error]
            rows = self._frame(had, seconds=time.perf_counter() - start)
            raise StoppedError(str(error), rows=rows) from None
        done = [(a, b) for a, b in zip(asks, answers, strict=True) if b is not None]
        self._refuse_if_broken(done)
        return self._frame(done, seconds=time.perf_counter() - start)

    def close(self) -> None:
        """Close the connections."""
        self._run(self._client.close())
        self._runner.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    async def _look(self) -> None:
        """Told here, a wrong address does not cost the patience of every request."""
        import openai

        try:
            await self._client.get("/models")
        except openai.APIConnectionError as error:
            raise self._unreachable(error) from None
        except openai.APIStatusError as error:
            # Not every endpoint lists its models, nor to every key.
            if error.status_code == 401:
                raise self._hopeless(error) from None

    def _ask(self, request: Request, sample: int) -> _Ask:
        if not request.text.strip() and not request.messages:
            return _Ask(request.query_id, sample, {}, "the query has no text")
        if request.is_more_than_text and not self.candidate.chat:
            return _Ask(request.query_id, sample, {}, MORE_THAN_TEXT)
        seed = seed_of(request.query_id, candidate_id=self.candidate_id, sample=sample)
        body = request_body(request, candidate=self.candidate, seed=seed)
        return _Ask(request.query_id, sample, body)

    async def _answer_all(self, asks: Sequence[_Ask], answers: list[_Answer | None]) -> None:
        """Fill `answers`; the first that finds no request can succeed ends the others."""
        turns = asyncio.Semaphore(self._endpoint.concurrency)

        async def one(place: int) -> None:
            async with turns:
                answers[place] = await self._answer(asks[place])

        try:
            async with asyncio.TaskGroup() as group:
                for place in range(len(asks)):
                    group.create_task(one(place))
        except* EngineError as errors:
            first = errors.exceptions[0]
        else:
            return
        raise first

    async def _answer(self, ask: _Ask) -> _Answer:
        if ask.error is not None:
            return _Answer(Reply(error=ask.error))
        start = time.perf_counter()
        answer = await self._replied(ask.body)
        if answer.reply.finish_reason == "length" and self.candidate.extend:
            answer = await self._extended(answer, body=ask.body)
        return replace(answer, seconds=time.perf_counter() - start)

    async def _extended(self, cut: _Answer, *, body: dict[str, Any]) -> _Answer:
        """The answer with more tokens; the one that was cut, which is paid for, if that fails."""
        limit = self.candidate.sampling.max_tokens + self.candidate.extend
        longer = await self._replied(body | {"max_tokens": limit})
        if longer.reply.error:
            return cut
        cost = _sum(self._cost(cut.reply), self._cost(longer.reply))
        return replace(longer, reply=replace(longer.reply, cost_usd=cost))

    async def _replied(self, body: dict[str, Any]) -> _Answer:
        import openai

        try:
            response = await self._post(body)
        except openai.APITimeoutError:
            limit = f"{self._endpoint.timeout_seconds:g} s (endpoint.timeout_seconds)"
            return _Answer(Reply(error=f"no reply within {limit}"), broken=True)
        except openai.APIConnectionError as error:
            reason = self._client.scrubbed(str(error.__cause__ or error))
            return _Answer(Reply(error=f"the connection failed: {reason}"), broken=True)
        except openai.APIStatusError as error:
            return self._refused(error)
        # What the library raises on an odd header is of any type; it is kept in its row.
        except Exception as error:  # noqa: BLE001
            reason = self._client.scrubbed(f"{type(error).__name__}: {error}")
            return _Answer(Reply(error=f"the client failed on the reply: {reason}"), broken=True)
        reply = self._read(response)
        self._check_served(reply)
        self._succeeded |= reply.error is None
        return _Answer(reply, broken=reply.error is not None and reply.served_model is None)

    async def _post(self, body: dict[str, Any]) -> Any:
        import openai

        path = "/chat/completions" if self.candidate.chat else "/completions"
        limit = body["max_tokens"]
        named = {key: body[key] for key in body if key != "max_tokens"}
        try:
            return await self._client.post(path, named | {self._limit: limit})
        except openai.BadRequestError as error:
            # Models that reason have another name for it, and refuse this one.
            if self._limit in str(error) and "max_completion_tokens" in str(error):
                self._limit = "max_completion_tokens"
                return await self._client.post(path, named | {self._limit: limit})
            raise

    def _refused(self, error: Any) -> _Answer:
        """A status that says no; raises if it says so to every request."""
        status = int(error.status_code)
        forbidden = status == _FORBIDDEN and not self._succeeded
        if status in _HOPELESS or forbidden or error.code == "insufficient_quota":
            raise self._hopeless(error) from None
        reason = f"the endpoint refused it with status {status}: {self._said(error)}"
        # Once others were answered, what is wrong with a request is its own: it is too long, say.
        own = status < 500 and status != _TOO_MANY and self._succeeded
        return _Answer(Reply(error=reason), broken=not own)

    def _hopeless(self, error: Any) -> EngineError:
        status = int(error.status_code)
        endpoint, model = self._endpoint, self.candidate.model
        key = f"the key in the environment variable {endpoint.key_variable}"
        if endpoint.key_variable is None:
            key = "a request without a key (set 'endpoint.key_variable')"
        # What a server says of a key may hold parts of it.
        told = "" if status == 401 else f": {self._said(error)}"
        what = {
            401: f"does not accept {key}",
            _FORBIDDEN: f"does not let {key} use model '{model}'{told}",
            404: f"knows no model '{model}', or the address is wrong (field 'endpoint.url', which "
            f"often ends in /v1){told}",
        }.get(status, f"has no more credit for {key}{told}")
        return EngineError(f"the endpoint {endpoint.url} {what} (status {status})")

    def _unreachable(self, error: Exception) -> EngineError:
        reason = self._client.scrubbed(str(error.__cause__ or error)) or type(error).__name__
        return EngineError(
            f"the endpoint {self._endpoint.url} cannot be reached ({reason}): check that it runs, "
            "and field 'endpoint.url'"
        )

    def _said(self, error: Any) -> str:
        return quoted(self._client.scrubbed(said(error.body) or error.response.text))

    def _read(self, response: Any) -> Reply:
        """The reply, or an error without any word of it if it repeats the key."""
        kind = response.headers.get("content-type", "")
        wanted = self.candidate.sampling.logprobs
        reply = read_reply(response.content, content_type=kind, logprobs=wanted)
        told = (response.text, reply.text, reply.served_model, reply.first_logprobs)
        if any(self._client.tells(text) for text in told):
            return Reply(error="the endpoint's reply repeats the key: it was not kept")
        return reply

    def _check_served(self, reply: Reply) -> None:
        """Take the first model's name for the candidate's; refuse any other."""
        served = reply.served_model
        self._served = self._served or served
        if served == self._served or (reply.error is not None and served is None):
            return
        now = f"'{served}'" if served else "what it does not name"
        before = "field 'revision' says" if self.candidate.revision else "so far it was"
        raise EngineError(
            f"the endpoint {self._endpoint.url} answers for model '{self.candidate.model}' with "
            f"{now}, {before} '{self._served}': answers of two models do not belong together; set "
            "'revision' to the name that is served now, which makes it another candidate"
        )

    def _refuse_if_broken(self, done: Sequence[tuple[_Ask, _Answer]]) -> None:
        tried = [(ask, answer) for ask, answer in done if ask.error is None]
        # As for local engines: one query alone says nothing of the endpoint.
        several = len({ask.query_id for ask, _ in tried}) > 1
        reasons = {_CHANGING.sub("#", answer.reply.error or "") for _, answer in tried}
        if several and len(reasons) == 1 and all(answer.broken for _, answer in tried):
            reason = tried[0][1].reply.error
            message = f"the endpoint {self._endpoint.url} fails on every query: {reason}"
            raise EngineError(message)

    def _cost(self, reply: Reply) -> float | None:
        """USD of one reply, as told or by the candidate's price."""
        price = self.candidate.price
        if reply.cost_usd is not None or price is None or reply.prompt_tokens is None:
            return reply.cost_usd
        spent = price.input * reply.prompt_tokens + price.output * (reply.completion_tokens or 0)
        return spent / TOKENS_PER_UNIT

    def _frame(self, done: Sequence[tuple[_Ask, _Answer]], *, seconds: float) -> pl.DataFrame:
        unit = seconds / max(sum(answer.seconds for _, answer in done), 1e-9)
        replies = [answer.reply for _, answer in done]
        columns: dict[str, list[Any]] = {
            "query_id": [ask.query_id for ask, _ in done],
            "candidate_id": [self.candidate_id] * len(done),
            "sample": [ask.sample for ask, _ in done],
            "seconds": [unit * answer.seconds for _, answer in done],
            "outcome": [_outcome(reply) for reply in replies],
        }
        told = ("text", "finish_reason", "prompt_tokens", "completion_tokens", "cost_usd")
        for name in (*told, "served_model", "first_logprobs", "error"):
            columns[name] = [getattr(reply, name) for reply in replies]
        return completions(columns)


def request_body(request: Request, *, candidate: Candidate, seed: int) -> dict[str, Any]:
    """What is asked; settings that not every endpoint knows are left out where they are neutral."""
    sampling = candidate.sampling
    neutral = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "stop": ()}
    given = {name: getattr(sampling, name) for name in neutral}
    body: dict[str, Any] = {
        "model": candidate.model,
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        **{name: value for name, value in given.items() if value != neutral[name]},
    }
    if sampling.temperature > 0:
        body["seed"] = seed
    if sampling.json_schema is not None:
        schema = {"name": "answer", "schema": sampling.json_schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if candidate.chat:
        likely = {"logprobs": True, "top_logprobs": sampling.logprobs}
        body["messages"] = messages_of(request, candidate=candidate)
    else:
        likely = {"logprobs": sampling.logprobs}
        body["prompt"] = candidate.template.replace("{text}", request.text)
    return body | (likely if sampling.logprobs else {})


def _outcome(reply: Reply) -> str:
    if reply.error is not None:
        return "error"
    return "truncated" if reply.finish_reason == "length" else "ok"


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other
