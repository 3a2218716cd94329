"""How a parameter model looks as a form of the Prefect UI: what comes first, and in which words.

A model's own order and words are those of the command line. In a form there are no flags, help is
read as Markdown, a number's bounds are shown nowhere else, and what every flow has comes last.
"""

import re
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from cluster.address import NAMES_NO_USER, names_user, refuse_user

# The same for every flow, and seldom changed.
LAST = ("ray_address", "lake")
FLAG = re.compile(r"--([a-z][a-z0-9-]*)")
# Read as the beginning of an element or of emphasis, and then not shown.
MARKUP = re.compile(r"([<>*`])")
POLICY = re.compile(r"(Of|For) polic(y|ies) [a-z_]+( and [a-z_]+)?: ")
# The server shows a pattern that a text does not match: it begins with words for the reader.
NO_USER = f"(?#no user, password or key in an address; set them in the environment){NAMES_NO_USER}"
Schema = dict[str, Any]
INSTEAD = "keys are read from the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
INSTEAD += "RAY_AUTH_TOKEN"


def shape(schema: Schema, model: type[BaseModel]) -> None:
    """Put the fields of a model's JSON schema into the form's order and words.

    The order stands in every field's `position`: a database need not keep that of an object.
    """
    properties: dict[str, Schema] = schema.get("properties", {})
    titles = {name: field["title"] for name, field in properties.items()}
    for name, field in properties.items():
        field["description"] = _words(field, titles=titles)
        field["position"] = _order(schema, model=model).index(name)
        _refuse_users(field)
    schema["properties"] = dict(sorted(properties.items(), key=lambda item: item[1]["position"]))


def _refuse_users(field: Schema) -> None:
    """The server refuses it then: without this, a run is made and kept before we see it."""
    typed = field.get("items", field)
    if typed.get("type") == "string" and "enum" not in typed:
        typed["pattern"] = NO_USER


def _order(schema: Schema, *, model: type[BaseModel]) -> list[str]:
    first: tuple[str, ...] = getattr(model, "FIRST", ())
    names = list(schema["properties"])
    assert set(first) <= set(names), f"{model.__name__} lacks some of {first}"
    required = [name for name in names if name in schema.get("required", [])]
    last = [name for name in LAST if name in names]
    others = [name for name in names if name not in last]
    return list(dict.fromkeys([*first, *required, *others, *last]))


def _words(field: Schema, *, titles: dict[str, str]) -> str:
    """The help of a field, with titles instead of flags."""

    def title(flag: re.Match[str]) -> str:
        name = flag[1].replace("-", "_")
        return f"'{titles[name]}'" if name in titles else flag[0]

    help_text = str(field.get("description", ""))
    if "policy" not in titles and POLICY.match(help_text):
        help_text = POLICY.sub("", help_text, count=1)
        if help_text.split()[0] not in field.get("enum", []):
            help_text = help_text[:1].upper() + help_text[1:]
    told = MARKUP.sub(r"\\\1", FLAG.sub(title, help_text))
    return ". ".join(filter(None, (told, _bounds(field))))


def _bounds(field: Schema) -> str:
    """Which numbers a field takes, where 'none below 0' does not say it all."""
    low, high = field.get("minimum"), field.get("maximum")
    above, below = field.get("exclusiveMinimum"), field.get("exclusiveMaximum")
    if above is not None and below is not None:
        return f"Between {above:,.15g} and {below:,.15g}"
    if above is not None:
        return f"More than {above:,.15g}" + (f", at most {high:,.15g}" if high is not None else "")
    if low is not None and high is not None:
        return f"From {low:,.15g} to {high:,.15g}"
    return f"At least {low:,.15g}" if low else ""


class FormParams(BaseModel):
    """Parameters that are a form in the UI, flags at a terminal, and a YAML file.

    Attributes:
        FIRST: fields the form begins with; then come the required ones, and then the others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=shape)

    FIRST: ClassVar[tuple[str, ...]] = ()

    @field_validator("*", mode="before")
    @classmethod
    def _without_line_ends(cls, value: Any) -> Any:
        """Where a form shows a text, Enter adds a line."""
        return value.strip("\r\n") if isinstance(value, str) else value

    @field_validator("*", mode="before")
    @classmethod
    def _holds_no_user(cls, value: Any, info: ValidationInfo) -> Any:
        """Parameters are kept and shown; an `InputError`, because pydantic's own repeats them."""
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str) and names_user(one):
                refuse_user(one, what=f"field '{info.field_name}'", instead=INSTEAD)
        return value
