"""The short table on a terminal of 80 columns."""

import pytest

from cluster.evaluation.table import TableRow
from tasks.report import show_table

FAMILY = ("candidate:llama3-chatqa-1.5-70b-instruct", "candidate:llama3-chatqa-1.5-8b-instruct")


def test_no_name_is_cut_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show_table([vars(TableRow(name, 0.5, 0.4, 0.6, None, None)) for name in FAMILY], title="t")
    lines = [
        line.split("│")[1].strip() for line in capsys.readouterr().err.splitlines() if "│" in line
    ]
    written = "".join(lines)
    for name in FAMILY:
        assert name.removeprefix("candidate:") in written
