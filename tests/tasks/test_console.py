"""Without a terminal, progress is a log line now and then."""

import logging

import pytest

from cluster.jobs.run import Part
from tasks import console
from tasks.artifacts import artifact_key


@pytest.mark.parametrize(
    ("seconds", "lines"),
    [(-1.0, ["progress: a 1/2 9/s · b 0/0", "progress: a 2/2 9/s · b 0/0"]), (1e9, [])],
)
def test_without_a_terminal_progress_becomes_a_line_now_and_then(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    lines: list[str],
) -> None:
    monkeypatch.setattr(console, "LINE_SECONDS", seconds)
    with caplog.at_level(logging.INFO, "test.bars"):
        bars = console.Bars(logging.getLogger("test.bars"))
        for done in (1, 2):
            bars.show([Part("a", done=done, total=2, note="9/s"), Part("b", done=0, total=0)])
    assert caplog.messages == lines


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (("generate", "Qwen2.5-7B Instruct"), "generate-qwen2-5-7b-instruct"),
        (("a_b", "日本"), "a-b"),
        (("日本",), "artifact"),
    ],
)
def test_any_name_becomes_a_key_that_prefect_takes(words: tuple[str, ...], key: str) -> None:
    assert artifact_key(*words) == key
