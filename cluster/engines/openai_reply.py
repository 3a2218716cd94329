"""Reading what an OpenAI-compatible endpoint replies, which may be anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from cluster.engines.engine import first_logprobs

# A reply may be a whole web page; an error's text needs its beginning.
_QUOTED = 200
# vLLM's server writes this or less for the logarithm of 0, which JSON does not know.
_IMPOSSIBLE = -9999.0
_Tokens = Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True)
class Reply:
    """An answer: `finish_reason` stop or length, or an `error`; what is not told is None."""

    text: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None
    served_model: str | None = None
    first_logprobs: str | None = None
    error: str | None = None


class _Likely(BaseModel):
    token: str
    logprob: float


class _Token(BaseModel):
    top_logprobs: list[_Likely] = []


class _Logprobs(BaseModel):
    content: list[_Token] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    text: str | None = None
    message: _Message | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    prompt_tokens: _Tokens | None = None
    completion_tokens: _Tokens | None = None
    cost: float | None = Field(default=None, ge=0, allow_inf_nan=False)


class _Body(BaseModel):
    model: str | None = None
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


def read_reply(content: bytes, *, content_type: str, logprobs: int) -> Reply:
    """What a reply with status 200 says; one that makes no sense is an error with the reason.

    Args:
        content: the body, of a chat or a text completion.
        content_type: its header.
        logprobs: how many of the likeliest first tokens are wanted.
    """
    if "json" not in content_type.lower():
        kind = content_type or "no content type"
        return Reply(error=f"the reply is no JSON but {kind}: {quoted(content)}")
    try:
        body = _Body.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = "".join(f" at '{part}'" for part in first["loc"][-1:])
        return Reply(error=f"the reply cannot be read: {first['msg']}{where}: {quoted(content)}")
    return _reply(body, logprobs=logprobs)


def quoted(content: bytes | str) -> str:
    """The beginning of what a server has said, on one line."""
    text = content if isinstance(content, str) else content[: 4 * _QUOTED].decode(errors="replace")
    line = " ".join(text.split())
    return repr(line if len(line) <= _QUOTED else line[:_QUOTED] + " …")


def said(body: Any) -> str | None:
    """The message of an error's body, which gateways write in several ways."""
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    message = inner.get("message") if isinstance(inner, Mapping) else inner
    return message if isinstance(message, str) and message else None


def _reply(body: _Body, *, logprobs: int) -> Reply:
    usage = body.usage or _Usage()
    text, finish_reason, error = _answer(body)
    return Reply(
        text=text,
        finish_reason=finish_reason,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cost_usd=usage.cost,
        served_model=body.model or None,
        first_logprobs=None if error else _first_logprobs(body.choices[0], wanted=logprobs),
        error=error,
    )


def _answer(body: _Body) -> tuple[str | None, str | None, str | None]:
    """Text, finish reason and error; the first two or the last are None."""
    if body.error is not None:
        told = quoted(said(body.error) or str(body.error))
        return None, None, f"the endpoint replied with an error: {told}"
    if not body.choices:
        return None, None, "the reply has no choices"
    choice = body.choices[0]
    message = choice.message or _Message()
    text = choice.text if choice.text is not None else message.content
    if message.refusal:
        return None, None, f"the model refused: {quoted(message.refusal)}"
    if choice.finish_reason not in ("stop", "length"):
        return None, None, f"the endpoint ended it with '{choice.finish_reason}'"
    if text is None and choice.finish_reason == "stop":
        return None, None, "the reply has no text"
    # Cut while it still reasoned, a model has not begun to answer.
    return text or "", choice.finish_reason, None


def _first_logprobs(choice: _Choice, *, wanted: int) -> str | None:
    likely: list[tuple[str, float]] = []
    given = choice.logprobs or _Logprobs()
    if given.content:
        likely = [(one.token, one.logprob) for one in given.content[0].top_logprobs]
    elif given.top_logprobs:
        likely = list((given.top_logprobs[0] or {}).items())
    if not wanted or not likely:
        return None
    # The token that was drawn may come with them although it is not likely.
    likely = sorted(likely, key=lambda one: -one[1])[:wanted]
    return first_logprobs((token, value) for token, value in likely if value > _IMPOSSIBLE)
