"""What is seen of the logs of a run that failed."""

import logging

from cluster.errors import InputError
from flows.services.run_log import Sentences


def record(error: Exception, message: str) -> logging.LogRecord:
    """As Prefect makes one of an exception."""
    words = (logging.ERROR, "engine.py", 1, message, (), (type(error), error, None))
    return logging.LogRecord("prefect.flow_runs", *words)


def test_an_error_for_the_user_is_its_sentence_once() -> None:
    sentences, error = Sentences(), InputError("table.csv, row 3: no text")
    task, flow = (record(error, f"{what} failed") for what in ("Task run", "Flow run"))
    seen = sentences.seen(task)
    assert seen is not None
    assert seen.getMessage() == "table.csv, row 3: no text"
    assert seen.exc_info is None
    assert task.exc_info is not None, "others see it as it was"
    assert sentences.seen(flow) is None
    assert sentences.seen(record(InputError("another"), "Flow run failed")) is not None


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    sentences, fault = Sentences(), record(KeyError("text"), "Flow run failed")
    assert sentences.seen(fault) is fault
    assert sentences.seen(fault) is fault
