"""What tests say of an answer that may lie, hang or attack them.

The tests never share a process with the answer. They run in a sandbox of their own and call the
answer's functions in another, over pipes that carry plain data; or, for tests of input and output,
the answer runs as a program and its output is compared here. So an answer can make a test pass in
one way: by giving the value the test expects, which it is never shown.
"""

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from cluster.rewards.sandbox.box import Box
from cluster.rewards.sandbox.limits import Limits
from cluster.rewards.sandbox.run import Ended, Run, pipe, sealed

Task = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """How many of the tests an answer passes, and why not all; no `total` for broken tests."""

    passed: int
    total: int
    reason: str | None


def examine(answer: str, *, task: Task, box: Box, limits: Limits) -> Verdict:
    """Run an answer against the tests of a task.

    Args:
        answer: source of Python.
        task: `inputs` and `outputs`, texts by pairs; or `tests` (pieces of Python) with `setup`;
            or `test` (Python), with `prompt` and `entry_point` where the answer goes on with one.
        box: where it runs.
        limits: of each run: one for each input, one for all other tests together.

    Raises:
        EngineError: the machine does not offer the isolation.
    """
    if "inputs" in task:
        return _by_output(answer, task=task, box=box, limits=limits)
    return _by_calls(answer, task=task, box=box, limits=limits)


def _by_output(answer: str, *, task: Task, box: Box, limits: Limits) -> Verdict:
    """Run it on each input; one that a limit has ended is not run on the rest."""
    pairs = list(zip(task["inputs"], task["outputs"], strict=True))
    passed, reason = 0, None
    for number, (given, expected) in enumerate(pairs, start=1):
        ended = _printed(answer, given=given, box=box, limits=limits)
        fault = _output_fault(ended, expected=expected)
        passed += fault is None
        reason = reason or (fault and f"input {number}: {fault}")
        if ended.fault is not None:
            break
    return Verdict(passed=passed, total=len(pairs), reason=reason)


def _printed(answer: str, *, given: str, box: Box, limits: Limits) -> Ended:
    """How the program ended, and what it printed."""
    with ExitStack() as stack:
        source, stdin = _files(stack, answer, given)
        read_out, stdout = pipe(stack)
        read_error, stderr = pipe(stack)
        outputs = {"stdout": read_out, "stderr": read_error}
        inputs = [stdin, stdout, stderr, source]
        run = Run(box, "program", limits=limits, inputs=inputs, outputs=outputs)
    return run.wait()


def _output_fault(ended: Ended, *, expected: str) -> str | None:
    """Why an output is not the expected one; blanks at the ends of lines do not count."""
    if ended.fault is not None:
        return ended.fault
    if ended.exit != 0:
        lines = ended.outputs["stderr"].decode(errors="replace").strip().splitlines()
        return (lines[-1][:200] if lines else "") or f"it ended with exit code {ended.exit}"
    printed = ended.outputs["stdout"].decode(errors="replace")
    return None if _lines(printed) == _lines(expected) else "another output"


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def _by_calls(answer: str, *, task: Task, box: Box, limits: Limits) -> Verdict:
    """Run the tests in one sandbox and the answer in another."""
    with ExitStack() as stack:
        own = {key: task.get(key) for key in ("prompt", "entry_point")}
        loaded = json.dumps({"answer": answer, **own})
        source, tests = _files(stack, loaded, json.dumps(dict(task)))
        nothing = os.open(os.devnull, os.O_RDWR)
        stack.callback(os.close, nothing)
        requests, ask = pipe(stack)
        replies, reply = pipe(stack)
        stack.callback(os.close, requests)
        stack.callback(os.close, replies)
        read_verdict, verdict = pipe(stack)
        read_error, stderr = pipe(stack)
        standard = [nothing, nothing, nothing]
        answering = Run(
            box, "answer", limits=limits, outputs={}, inputs=[*standard, source, requests, reply]
        )
        # The tests end by themselves when the answer does; their own limit is for their own fault.
        patient = limits._replace(seconds=limits.seconds + 5)
        checking = Run(
            box, "checker", limits=patient,
            inputs=[nothing, nothing, stderr, tests, replies, ask, verdict],
            outputs={"verdict": read_verdict, "stderr": read_error},
        )  # fmt: skip
    checked = checking.wait()
    answered = answering.stop()
    return _verdict(checked, answered=answered)


def _verdict(checked: Ended, *, answered: Ended) -> Verdict:
    """What the tests have written; why the answer has ended says more than that it has."""
    if checked.fault is not None or not checked.outputs["verdict"]:
        return Verdict(passed=0, total=1, reason=answered.fault or f"the tests: {checked.fault}")
    said = json.loads(checked.outputs["verdict"])
    if "broken" in said:
        return Verdict(passed=0, total=0, reason=said["broken"])
    failed = said["failure"] is not None
    reason = answered.fault if failed and answered.fault else said["failure"]
    return Verdict(passed=said["passed"], total=said["total"], reason=reason)


def _files(stack: ExitStack, *contents: str) -> list[int]:
    numbers = [sealed(content.encode(errors="replace")) for content in contents]
    for number in numbers:
        stack.callback(os.close, number)
    return numbers
