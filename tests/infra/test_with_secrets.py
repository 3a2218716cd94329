"""The images' entry point: secrets come from files, and nothing else is touched."""

import os
import subprocess
from pathlib import Path

import pytest
from deployed import INFRA
from hypothesis import given
from hypothesis import strategies as st

SCRIPT = INFRA / "docker" / "with-secrets"


def run(command: list[str], **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [SCRIPT, *command],
        env={"PATH": os.environ["PATH"]} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_secret_in_a_file_becomes_a_variable_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "s3").write_text("hush\n")
    done = run(
        ["env"],
        SECRETS_FOLDER=str(tmp_path),
        AWS_SECRET_ACCESS_KEY_FILE=f"{tmp_path}/s3",
        SIGNALBOX_FAILPOINT_FILE="/elsewhere/x",
    )
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert "AWS_SECRET_ACCESS_KEY=hush" in lines
    assert not any(line.startswith("AWS_SECRET_ACCESS_KEY_FILE=") for line in lines)
    assert "SIGNALBOX_FAILPOINT_FILE=/elsewhere/x" in lines


@given(st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=40))
def test_a_secret_is_text_and_never_run(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "one").write_text(text)
    done = run(["printenv", "WORD"], SECRETS_FOLDER=str(folder), WORD_FILE=f"{folder}/one")
    assert done.stdout == text.rstrip("\n") + "\n"


def test_a_secret_that_is_not_there_is_told_and_nothing_runs(tmp_path: Path) -> None:
    done = run(["echo", "ran"], SECRETS_FOLDER=str(tmp_path), WORD_FILE=f"{tmp_path}/gone")
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"WORD_FILE names {tmp_path}/gone" in done.stderr


def test_words_and_exit_status_are_the_command_s_own() -> None:
    done = run(["sh", "-c", 'printf "%s|" "$@"; exit 7', "sh", "a b", "$HOME", ""])
    assert done.stdout == "a b|$HOME||"
    assert done.returncode == 7
