"""What a client asks: which model, and the text by which it is routed."""

import json
from dataclasses import dataclass
from typing import Any

from cluster.serving.refusal import Refusal

CHAT = "/chat/completions"
COMPLETIONS = "/completions"


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

    @property
    def text(self) -> str:
        """What is routed: the last user's turn of a chat, or the prompt.

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
    except (ValueError, RecursionError):
        raise Refusal("the body is not JSON") from None
    if not isinstance(body, dict):
        raise Refusal("the body is not a JSON object")
    if not isinstance(body.get("model"), str):
        raise Refusal("field 'model' is missing: 'router', or a name of /v1/models", param="model")
    return Asked(path, body)


def _last_turn(body: dict[str, Any]) -> str:
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise Refusal("field 'messages': expected a list of messages", param="messages")
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            return _content(message.get("content"))
    raise Refusal("field 'messages': no message of a user to route by", param="messages")


def _content(content: Any) -> str:
    """A message's text; of a list of parts, the text parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        texts = [text for text in parts if isinstance(text, str)]
        if texts:
            return "\n".join(texts)
    raise Refusal("field 'messages': the last user's message has no text", param="messages")


def _prompt(body: dict[str, Any]) -> str:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise Refusal(
            "field 'prompt': the router reads one text; name a candidate as the model for several "
            "prompts or for token numbers",
            param="prompt",
        )
    return prompt
