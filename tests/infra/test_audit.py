"""`make audit`: what was not asked is never called clean."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from deployed import INFRA

AUDIT = INFRA / "audit.py"
CLEAN = {"name": "one", "version": "1", "vulns": []}
BROKEN = {"name": "two", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "three", "skip_reason": "not found"}


def audited(folder: Path, *answer: object, arguments: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit status and words of an audit by a program that gives one answer to everything."""
    told = json.dumps({"dependencies": answer}) if answer else "no route to host"
    program = folder / "pip-audit"
    program.write_text(f"#!{sys.executable}\nprint({told!r})\n")
    program.chmod(0o755)
    words = [sys.executable, AUDIT, "--pip-audit", program, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_known_vulnerability_fails_and_is_named(tmp_path: Path) -> None:
    status, told = audited(tmp_path, CLEAN, BROKEN)
    assert status == 1
    assert "two 2: CVE-1, mended in 3" in told


def test_clean_is_what_the_database_knows_to_be(tmp_path: Path) -> None:
    status, told = audited(tmp_path, CLEAN, UNKNOWN)
    assert status == 0
    assert "NOT AUDITED, unknown to osv: three" in told


@pytest.mark.parametrize("answer", [(), (UNKNOWN,)], ids=["no answer", "knows nothing"])
def test_a_database_that_cannot_be_asked_is_no_pass(tmp_path: Path, answer: tuple[object]) -> None:
    status, told = audited(tmp_path, *answer)
    assert status == 2
    assert "NOT DONE: no audit database is reachable" in told
    status, told = audited(tmp_path, *answer, arguments=("--reachable",))
    assert status == 0
    assert "NOT DONE" in told
