"""How a candidate's tokens are picked, and what is kept of the first."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

# vLLM and the commercial endpoints give no more than these.
MOST_LOGPROBS = 20


class Sampling(BaseModel):
    """How a token is picked; the defaults are greedy.

    Attributes:
        temperature, top_p, top_k, min_p, repetition_penalty: what a token is drawn from.
        max_tokens: limit of an answer.
        stop: strings that end an answer; they are cut off.
        json_schema: the answer is JSON that follows this schema; the order of its properties is
            the order of the answer's.
        logprobs: how many of the likeliest first tokens are kept with their log probabilities, as
            the model gives them before temperature and penalties.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0)
    max_tokens: int = Field(default=512, ge=1)
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    json_schema: dict[str, Any] | None = None
    logprobs: int = Field(default=0, ge=0, le=MOST_LOGPROBS)

    @field_validator("json_schema")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        from jsonschema import SchemaError
        from jsonschema.validators import Draft202012Validator, validator_for

        if schema is None:
            return None
        try:
            validator_for(schema, default=Draft202012Validator).check_schema(schema)
        except SchemaError as error:
            where = f" at {error.json_path}" if error.path else ""
            raise ValueError(f"this is no JSON schema: {error.message}{where}") from error
        return _as_json(schema)


def _as_json(schema: dict[str, Any]) -> dict[str, Any]:
    """As a file of JSON would hold it: YAML knows dates and keys that are numbers."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"this is no JSON schema: {error}; write such a value as text") from error
    return plain
