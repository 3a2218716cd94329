"""Every flow's model: one flat form, each field with its words; the help says all of it."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from flows.cli import COMMANDS

FLAT = {"string", "integer", "number", "boolean"}


def model(command: str) -> type[BaseModel]:
    entry = COMMANDS[command]
    found: type[BaseModel] = getattr(importlib.import_module(entry.module), entry.params)
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_has_a_title_and_a_description(command: str) -> None:
    for name, field in model(command).model_fields.items():
        assert field.title, name
        assert field.description, name
        assert field.title != field.description, name


@pytest.mark.parametrize("command", COMMANDS)
def test_the_form_is_flat(command: str) -> None:
    schema = model(command).model_json_schema()
    assert "$defs" not in schema
    for name, field in schema["properties"].items():
        inner = field["items"] if field.get("type") == "array" else field
        assert inner.get("type") in FLAT, (name, field)


OURS = {
    ("collect", "scorers"): {"exact", "numeric", "multiple_choice"},
    ("collect", "taggers"): {"task", "clusters"},
    ("import", "format"): {"routerdc", "llmrouter", "routerbench", "sprout", "table"},
    ("export", "format"): {"llmrouter", "semantic_router", "routerarena"},
    ("evaluate", "methods"): {"all", "cluster_table", "knn"},
    ("train", "encoder"): {"lexical", "huggingface"},
}
GROUPS = {
    ("collect", "scorers"): "scorers",
    ("collect", "taggers"): "taggers",
    ("import", "format"): "importers",
    ("export", "format"): "exporters",
    ("evaluate", "methods"): "routers",
    ("train", "encoder"): "encoders",
}


@pytest.mark.parametrize(("command", "field"), OURS)
def test_the_installed_plugins_are_a_choice(command: str, field: str, told: Any) -> None:
    schema = model(command).model_json_schema()["properties"][field]
    choices = schema.get("items", schema)["enum"]
    assert set(choices) >= OURS[command, field]
    shown = re.sub(r"\s", "", told(command, "--help").out)
    assert all(name in shown for name in choices)
    assert "{" + ",".join(choices) + "}" in shown


@pytest.mark.parametrize(("command", "field"), OURS)
def test_a_users_own_plugin_is_a_choice_too(command: str, field: str, tmp_path: Path) -> None:
    """A package on the path that declares an entry point, in a process that begins with it."""
    package = tmp_path / "own-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    group = f"[signalbox.{GROUPS[command, field]}]"
    (package / "entry_points.txt").write_text(f"{group}\nmine = own:Own\n")
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", command, "--help"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"\{[^}]*\bmine\b[^}]*\}", done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_form_refuses_unknown_fields_and_is_frozen(command: str) -> None:
    config = model(command).model_config
    assert config.get("extra") == "forbid"
    assert config.get("frozen") is True


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_flag_and_its_default(command: str, told: Any) -> None:
    result = told(*command.split(), "--help")
    assert result.status == 0
    shown = re.sub(r"\s+", " ", result.out)
    for name, field in model(command).model_fields.items():
        flag = "--" + name.replace("_", "-")
        assert flag in shown
        said = re.sub(r"\s+", " ", field.description or "")
        # argparse breaks lines at dashes too.
        assert said.replace("- ", "-") in shown.replace("- ", "-"), flag
        if field.is_required():
            assert f"{said.split()[-1]} (required)" in shown, flag
        elif field.default not in ("", [], None):
            default = field.default
            typed = ",".join(default) if isinstance(default, list) else str(default)
            assert f"(default: {typed})" in shown, flag
    assert "(default: None)" not in shown
    assert "--config FILE" in shown
    assert "--verbose" in shown


def test_the_overview_names_every_command(told: Any) -> None:
    result = told("--help")
    assert result.status == 0
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.help)}$", result.out, re.MULTILINE)
