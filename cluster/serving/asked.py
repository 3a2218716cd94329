"""What a client asks: which model, and the text by which it is routed."""

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from cluster.messages import read_chat, transcript
from cluster.serving.refusal import Refusal

CHAT = "/chat/completions"
COMPLETIONS = "/completions"


class Query(NamedTuple):
    """A text to route.

    Attributes:
        text: what the router reads.
        whole: all that the candidate reads, by whose length the prompt is priced.
    """

    text: str
    whole: str


@dataclass(frozen=True)
class Asked:
    """A request's body.

    Attributes:
        path: of the endpoint, `CHAT` or `COMPLETIONS`.
        body: the JSON object, passed on with another `model`.
    """

    path: str
    body: dict[str, Any]

    @property
    def model(self) -> str:
        """The name it asks for."""
        return str(self.body["model"])

    def query(self) -> Query:
        """The text it is routed by.

        Raises:
            Refusal: there is none.
        """
        return _last_turn(self.body) if self.path == CHAT else _prompt(self.body)

    def sent(self, model: str) -> bytes:
        """The body for a back-end that knows the model as `model`."""
        return json.dumps(self.body | {"model": model}, ensure_ascii=False).encode()


def read_asked(content: bytes, *, path: str) -> Asked:
    """A request's body, as far as it matters here; the rest is left to the back-end.

    Raises:
        Refusal: it is not a JSON object with a model's name.
    """
    try:
        body = json.loads(content)
        # NaN, an infinite number, half a surrogate pair: Python reads them, and no other reader.
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise Refusal("the body is not JSON in UTF-8") from None
    if not isinstance(body, dict):
        raise Refusal("the body is not a JSON object")
    if not isinstance(body.get("model"), str):
        raise Refusal("field 'model' is missing: 'router', or a name of /v1/models", param="model")
    return Asked(path, body)


def _last_turn(body: dict[str, Any]) -> Query:
    """As files of chats are routed: by what the last user turn says."""
    messages = body.get("messages")
    chat = read_chat(json.dumps(messages))
    if chat.trouble or chat.text is None:
        raise Refusal(f"field 'messages' {chat.trouble}", param="messages")
    return Query(chat.text, transcript(json.loads(chat.messages)) if chat.messages else chat.text)


def _prompt(body: dict[str, Any]) -> Query:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise Refusal(
            "field 'prompt': the router reads one text; name a candidate as the model for several "
            "prompts or for token numbers",
            param="prompt",
        )
    if not prompt.strip():
        raise Refusal("field 'prompt' has no text to route by", param="prompt")
    return Query(prompt, prompt)
