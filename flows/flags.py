"""Flags and YAML from a flow's pydantic model: the flags win over the file."""

import argparse
import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

ParamsT = TypeVar("ParamsT", bound=BaseModel)


class UsageError(Exception):
    """The command's flags or its YAML file are not what it takes."""


class _Help(argparse.HelpFormatter):
    """Help without "(default: )" where the default is empty and the text says what that means."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return (action.help or "").replace(" (default: )", "")


def parse_flags(params: type[ParamsT], *, arguments: list[str], command: str) -> ParamsT:
    """The parameters that `arguments` (and the YAML file behind `--config`) ask for.

    Prints the help and exits on `--help`.

    Raises:
        UsageError: an unknown flag or field, a missing or wrong value; the text names it.
    """
    arguments, values = _take_config(arguments, params=params)
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
        given = settings(_cli_settings_source=source(args=arguments), **values)
    except ValidationError as error:
        raise UsageError(_explained(error, params=params)) from error
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

    Flags.__doc__ = params.__doc__
    return Flags


def _take_config(
    arguments: list[str], *, params: type[BaseModel]
) -> tuple[list[str], dict[str, Any]]:
    """`--config FILE` out of the arguments, and what is in the file."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    known, rest = parser.parse_known_args(arguments)
    if known.config is None:
        return rest, {}
    path = Path(known.config)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise UsageError(f"--config {path}: broken YAML: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"--config {path}: expected fields and values")
    values = {str(name).replace("-", "_"): value for name, value in values.items()}
    for name in values:
        if name not in params.model_fields:
            raise UsageError(f"--config {path}: {_unknown(name, params=params)}")
    return rest, values


def _unknown(name: str, *, params: type[BaseModel]) -> str:
    near = difflib.get_close_matches(name, params.model_fields, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"unknown field '{name}'{hint} known: {', '.join(params.model_fields)}"


def _unparsed(error: SettingsError, *, params: type[BaseModel], command: str) -> str:
    """The parser's word, with the flag that was probably meant."""
    text = str(error).removeprefix("error parsing CLI: ")
    flags = ["--" + name.replace("_", "-") for name in params.model_fields]
    typed = [word for word in text.split() if word.startswith("--")]
    near = [match for word in typed for match in difflib.get_close_matches(word, flags, n=1)]
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return f"{text}{hint} 'signalbox {command} --help' lists the flags"


def _explained(error: ValidationError, *, params: type[BaseModel]) -> str:
    """Every wrong flag in a line of its own."""
    lines = []
    for fault in error.errors(include_url=False, include_context=False):
        name = str(fault["loc"][0]) if fault["loc"] else ""
        flag = "--" + name.replace("_", "-")
        if fault["type"] == "missing":
            what = params.model_fields[name].description or ""
            lines.append(f"{flag} is missing: {what}")
        else:
            lines.append(f"{flag} {fault['input']!r}: {fault['msg']}")
    return "; ".join(lines)
