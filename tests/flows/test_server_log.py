"""The file with what the Prefect server of `up` says."""

import stat
import subprocess
from pathlib import Path

import pytest
from prefect.settings import PREFECT_HOME, temporary_settings

from flows.services import server_log
from flows.services.server_log import ServerLog


def begun(home: Path) -> ServerLog:
    with temporary_settings({PREFECT_HOME: str(home)}):
        return ServerLog.begun()


def says(log: ServerLog, words: str) -> None:
    subprocess.run(["echo", words], stdout=log.file, check=True)


def test_it_begins_anew_for_the_user_alone_and_tells_where_it_is(tmp_path: Path) -> None:
    first = begun(tmp_path)
    says(first, "the first start")
    first.close()
    second = begun(tmp_path)
    assert "nothing" in second.last_words()
    says(second, "the second start")
    assert second.last_words().startswith("the second start")
    assert str(second.path) in second.last_words()
    assert second.path.read_text() == "the second start\n"
    assert stat.S_IMODE(second.path.stat().st_mode) == 0o600
    second.close()


def test_a_long_one_keeps_its_end_and_is_written_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_log, "LONGEST_BYTES", 20)
    log = begun(tmp_path)
    says(log, "0123456789012345678")
    log.shorten()
    assert log.path.stat().st_size == 20
    says(log, "abc")
    log.shorten()
    assert log.path.read_text() == "45678\nabc\n"
    says(log, "def")
    assert log.path.read_text() == "45678\nabc\ndef\n"
    log.close()
