"""JSON that has to follow a schema."""

import json
from typing import Any, ClassVar

import polars as pl
from pydantic import Field, field_validator

from cluster.rewards.bounded.scorer import BoundedScorer
from cluster.rewards.json_schema_judge import broken_schema


class JsonSchema(BoundedScorer):
    """1 where the answer is JSON that follows the schema, else 0 with the first fault as reason.

    The JSON is the whole answer or its last fenced block. The schema is the reference, or one for
    all, of the draft its `$schema` names (2020-12 without one). References to other documents are
    never fetched: null, as for any schema that is broken, with the reason.

    Attributes:
        json_schema: for all answers; without it each reference is a schema.
    """

    name: ClassVar[str] = "json_schema"
    judge: ClassVar[str] = "cluster.rewards.json_schema_judge:judge"
    probe: ClassVar[str] = "0"

    json_schema: dict[str, Any] | None = Field(default=None, description="schema for all answers")

    @field_validator("json_schema")
    @classmethod
    def _sound(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        fault = None if schema is None else broken_schema(schema)
        if fault is not None:
            raise ValueError(fault)
        return schema

    @property
    def needs_reference(self) -> bool:
        """See `Scorer.needs_reference`."""
        return self.json_schema is None

    def reference(self) -> pl.Expr:
        """The schema as JSON text."""
        if self.json_schema is None:
            return super().reference()
        return pl.lit(json.dumps(self.json_schema))
