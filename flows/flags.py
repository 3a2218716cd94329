"""Flags and YAML from a flow's pydantic model: the flags win over the file."""

import argparse
import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from cluster.errors import InputError
from cluster.spec_file import read_spec_file

EVERYWHERE = (
    "Beside these flags: --config FILE reads them from YAML (a flag wins over the file), --verbose "
    "shows tracebacks and everything the jobs log."
)
ParamsT = TypeVar("ParamsT", bound=BaseModel)


class UsageError(Exception):
    """The command's flags or its YAML file are not what it takes."""


@dataclass(frozen=True)
class Config:
    """What is in the file behind `--config`, with the file's name; empty without the flag."""

    file: str = ""
    values: dict[str, Any] = field(default_factory=dict)


class _Help(argparse.HelpFormatter):
    """Help that shows lists as they are typed: `a,b`, not as Python writes them.

    A default that is empty is left out: the text says what empty means.
    """

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        start, mark, default = text.partition(" (default: ")
        if not mark or default in (")", "[])", "None)"):
            return start
        return start + mark + default.replace("['", "").replace("']", "").replace("', '", ",")

    def _metavar_formatter(
        self, action: argparse.Action, default_metavar: str
    ) -> Callable[[int], tuple[str, ...]]:
        shown = str(action.metavar or default_metavar)
        if shown.startswith("list["):
            shown = shown.removeprefix("list[").removesuffix("]") + ",..."
        return lambda size: (shown,) * size


def parse_flags(params: type[ParamsT], *, arguments: list[str], command: str) -> ParamsT:
    """The parameters that `arguments` (and the YAML file behind `--config`) ask for.

    Prints the help and exits on `--help`.

    Raises:
        UsageError: an unknown flag or field, a missing or wrong value; the text names it.
    """
    arguments, config = _take_config(arguments, params=params)
    settings = _settings_type(params)
    source: Any = CliSettingsSource(
        settings,
        cli_prog_name=f"signalbox {command}",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_enforce_required=False,
        cli_exit_on_error=False,
        formatter_class=_Help,
    )
    try:
        given = settings(_cli_settings_source=source(args=arguments), **config.values)
    except ValidationError as error:
        typed = {word.partition("=")[0] for word in arguments}
        raise UsageError(_explained(error, params=params, config=config, typed=typed)) from error
    except SettingsError as error:
        raise UsageError(_unparsed(error, params=params, command=command)) from error
    return params.model_validate(given.model_dump(include=given.model_fields_set))


def _settings_type(params: type[ParamsT]) -> type[BaseSettings]:
    """The model as settings that are read from flags and given values alone."""

    class Flags(params, BaseSettings):  # type: ignore[valid-type,misc]
        model_config = SettingsConfigDict(frozen=True, extra="forbid")

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],  # noqa: ARG003
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (init_settings,)

    Flags.__doc__ = f"{params.__doc__} {EVERYWHERE}"
    return Flags


def _take_config(arguments: list[str], *, params: type[BaseModel]) -> tuple[list[str], Config]:
    """`--config FILE` out of the arguments, and what is in the file."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config")
    try:
        known, rest = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UsageError("--config needs the name of a YAML file") from error
    if known.config is None:
        return rest, Config()
    values = _read_file(Path(known.config))
    if not isinstance(values, dict):
        raise UsageError(f"{known.config}: expected fields and values, such as 'lake: ./lake'")
    values = {str(name).replace("-", "_"): value for name, value in values.items()}
    for name in values:
        if name not in params.model_fields:
            raise UsageError(f"{known.config}: {_unknown(name, params=params)}")
    return rest, Config(known.config, values)


def _read_file(path: Path) -> Any:
    try:
        return read_spec_file(path, flag="--config") or {}
    except InputError as error:
        raise UsageError(str(error)) from error


def _unknown(name: str, *, params: type[BaseModel]) -> str:
    near = difflib.get_close_matches(name, params.model_fields, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return f"unknown field '{name}'{hint} Known: {', '.join(params.model_fields)}"


def _unparsed(error: SettingsError, *, params: type[BaseModel], command: str) -> str:
    """The parser's word, with the flag that was probably meant."""
    text = str(error).removeprefix("error parsing CLI: ")
    flags = ["--" + name.replace("_", "-") for name in params.model_fields]
    typed = [word for word in text.split() if word.startswith("--") and word[:-1] not in flags]
    near = [match for word in typed for match in difflib.get_close_matches(word, flags, n=1)]
    hint = f"; did you mean {', '.join(near)}?" if near else "."
    return f"{text}{hint} 'signalbox {command} --help' lists the flags"


def _explained(
    error: ValidationError, *, params: type[BaseModel], config: Config, typed: set[str]
) -> str:
    """Every wrong flag, or field of the YAML file where the flag was not typed."""
    lines = []
    for fault in error.errors(include_url=False, include_context=False):
        name = str(fault["loc"][0]) if fault["loc"] else ""
        flag = "--" + name.replace("_", "-")
        if fault["type"] == "missing":
            what = params.model_fields[name].description or ""
            lines.append(f"{flag} is missing: {what}")
        elif name in config.values and flag not in typed:
            lines.append(f"{config.file}: field '{name}', {fault['input']!r}: {fault['msg']}")
        else:
            lines.append(f"{flag} {fault['input']!r}: {fault['msg']}")
    return "; ".join(lines)
