"""Programs, run against tests: what counts as right, and what is said of the others."""

import json
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import psutil
import pytest
import yaml

from cluster.candidate import Resources
from cluster.errors import EngineError, InputError
from cluster.rewards.code import Code
from cluster.rewards.code_task import read_task
from cluster.rewards.scorer import load_scorer

RIGHT = yaml.safe_load(Path(__file__).with_name("right_programs.yaml").read_text("utf-8"))
ADD = "def add(a, b):\n    return a + b\n"
HUMANEVAL = {
    "prompt": (
        "from typing import List\n\n"
        "def twice(x):\n    return 2 * x\n\n\n"
        'def largest(xs: List[int]) -> int:\n    """The largest."""\n'
    ),
    "test": (
        "METADATA = {}\n\ndef check(candidate):\n"
        "    assert candidate([1, 3, 2]) == 3\n    assert twice(candidate([4])) == 8\n"
    ),
    "entry_point": "largest",
}


def table(pairs: list[tuple[str | None, object]]) -> pl.DataFrame:
    rows = [
        ("q", text, told if isinstance(told, str | None) else json.dumps(told))
        for text, told in pairs
    ]
    schema = {"query": pl.String, "text": pl.String, "reference": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


@pytest.fixture(scope="module")
def rate():
    """Value, raw and reason of answers and their references, in open sandboxes."""
    with Code(seconds=20, resources=Resources(cpus=2)).open() as rate:
        try:
            rate(table([("x = 1", "assert x == 1")]))
        except EngineError as error:
            pytest.skip(f"no sandbox on this machine: {error}")
        yield lambda *pairs: rate(table(list(pairs))).ratings.rows()


def test_the_program_is_the_last_block_of_python_or_all(rate):
    tests = ["assert add(1, 2) == 3"]
    wrong = "def add(a, b):\n    return 0\n"
    answers = [
        ADD,
        f"Sure!\n```python\n{ADD}```\nIt adds.",
        f"```python\n{wrong}```\nno, better:\n```py\n{ADD}```\nand run\n```bash\npython x.py\n```",
        f"```\n{ADD}",
    ]
    assert rate(*((answer, tests) for answer in answers)) == [(1.0, 1.0, None)] * 4
    assert rate((f"```python\n{ADD}```\n```python\n{wrong}```", tests))[0][0] == 0.0


def test_all_tests_have_to_pass_and_the_share_is_kept(rate):
    tests = ["assert add(1, 2) == 3", "assert add(1, 2) == 4", "assert add('a', 'b') == 'ab'"]
    ((value, raw, reason),) = rate((ADD, tests))
    assert (value, raw) == (0.0, pytest.approx(2 / 3))
    assert reason == "2 of 3 tests passed; assert add(1, 2) == 4: AssertionError"


def test_the_share_may_be_the_reward():
    scorer = Code(partial=True, resources=Resources(cpus=1))
    tests = ["assert add(1, 2) == 3", "assert add(1, 2) == 4"]
    try:
        assert scorer.score(table([(ADD, tests)])).to_list() == [0.5]
    except EngineError as error:
        pytest.skip(f"no sandbox on this machine: {error}")


def test_input_and_output(rate):
    task = {"inputs": ["1 2\n", "3 4"], "outputs": ["3", "7\n"]}
    reading = "print(sum(map(int, input().split())))"
    right, wrong, broken, guarded, leaving = rate(
        (reading, task),
        ("print(3)", task),
        ("print(3)\n1 / 0", task),
        (f"def main():\n    {reading}\nif __name__ == '__main__':\n    main()", task),
        (f"import sys\n{reading}\nsys.exit(1)", task),
    )
    assert right == guarded == (1.0, 1.0, None)
    assert wrong == (0.0, 0.5, "1 of 2 tests passed; input 2: another output")
    assert broken[1:] == (
        0.0,
        "0 of 2 tests passed; input 1: ZeroDivisionError: division by zero",
    )
    assert "exit code 1" in leaving[2]


@pytest.mark.parametrize(
    "answer",
    [
        "    return max(xs)\n",
        "    best = xs[0]\n    for x in xs:\n        best = max(best, x)\n    return best\n",
        "def largest(xs):\n    return max(xs)\n",
        "```python\ndef largest(xs: List[int]) -> int:\n    return twice(max(xs)) // 2\n```",
    ],
)
def test_an_answer_may_go_on_with_the_prompt_or_be_whole(rate, answer):
    assert rate((answer, HUMANEVAL)) == [(1.0, 1.0, None)]


def test_a_prompts_helpers_are_the_tests_own(rate):
    """An answer that brings a false `twice` does not change what the tests call."""
    answer = "def twice(x):\n    return 8 if x != 3 else 3\ndef largest(xs):\n    return 3\n"
    ((value, _, reason),) = rate((answer, HUMANEVAL))
    assert value == 0.0
    assert reason.startswith("check(candidate): AssertionError")


def test_python_as_a_reference(rate):
    source = """
import math
values = [3, 1]
assert math.isclose(half(3), 1.5)
order(values)
assert values == [1, 3]
def test_errors():
    try:
        half("x")
    except TypeError:
        return
    raise AssertionError("no error")
import unittest
class TestHalf(unittest.TestCase):
    def test_zero(self):
        self.assertEqual(half(0), 0)
    def test_one(self):
        self.assertEqual(half(1), 1)
"""
    answer = "def half(x): return x / 2\ndef order(xs): xs.sort()"
    ((value, raw, reason),) = rate((answer, source))
    assert (value, raw) == (0.0, 4 / 5)
    assert (
        reason == "4 of 5 tests passed; TestHalf.test_one: AssertionError: AssertionError: 0.5 != 1"
    )


@pytest.mark.parametrize("program", RIGHT, ids=lambda program: program["test"].strip()[:40])
def test_values_calls_and_objects_are_what_they_are(rate, program):
    assert rate((program["answer"], [program["test"]])) == [(1.0, 1.0, None)]


@pytest.mark.parametrize(
    ("answer", "test", "reason"),
    [
        ("def f(:", "assert f(1) == 1", "does not load: SyntaxError"),
        ("", "assert f(1) == 1", "NameError: name 'f' is not defined"),
        ("Sorry, I cannot.", "assert f(1) == 1", "does not load: SyntaxError"),
        ("def f(x): return x + '1'", "assert f(1) == 1", "TypeError: unsupported operand"),
        ("import numpy", "assert f(1) == 1", "ModuleNotFoundError"),
        ("class Odd:\n  pass\ndef f(x): return Odd()", "assert f(1) == 1", "AssertionError"),
        ("def f(x): return x\x00", "assert f(1) == 1", "does not load"),
    ],
)
def test_why_it_is_wrong(rate, answer, test, reason):
    ((value, _, said),) = rate((answer, [test]))
    assert value == 0.0
    assert reason in said


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("assert f(", "SyntaxError"),
        ("x = 1", "it holds no test"),
        ("42", "it holds no test"),
        ("{}", "expected 'tests'"),
        ({"tests": []}, "'tests' is '[]', expected a list of texts"),
        ({"tests": [1]}, "'tests'"),
        ({"inputs": ["1"], "outputs": []}, "'outputs'"),
        ({"inputs": ["1"], "outputs": ["1", "2"]}, "1 'inputs' and 2 'outputs'"),
        ({"tests": ["assert 1"], "setup": 1}, "'setup' is '1'"),
        ({"test": 1}, "'test' is '1'"),
    ],
)
def test_a_reference_without_tests_is_no_reward(rate, told, reason):
    ((value, raw, said),) = rate((ADD, told))
    assert value is None
    assert raw is None
    assert said.startswith("the reference: ")
    assert reason in said


def test_missing_is_missing(rate):
    assert rate((None, ["assert 1"]), (ADD, None), (ADD, " ")) == [(None, None, None)] * 3


def test_forms_of_a_reference():
    assert read_task('["assert 1"]') == {"tests": ["assert 1"], "setup": ""}
    assert read_task("assert 1") == {"test": "assert 1"}
    assert read_task(json.dumps(HUMANEVAL)) == HUMANEVAL
    with pytest.raises(InputError, match="expected 'tests'"):
        read_task('{"input": 1}')


def test_runs_leave_nothing_to_each_other(rate):
    writer = "import string\nstring.digits = 'x'\nopen('/tmp/left', 'w').close()\nf = 1"
    reader = "import os, string\nf = (os.listdir('/tmp'), string.digits)"
    pairs = [(writer, ["assert f == 1"]), (reader, ["assert f == ([], '0123456789')"])] * 3
    # Equal answers are run once, so each is made another.
    told = [(f"{answer}\n# {number}", test) for number, (answer, test) in enumerate(pairs)]
    assert [value for value, _, _ in rate(*told)] == [1.0] * 6


def test_no_sandbox_no_run(monkeypatch):
    """As on a machine that gives no namespaces: refused, unless the weaker kind is named."""
    from cluster.rewards.sandbox import box

    def refused(process: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(box, "map_users", refused)
    answers = table([(ADD, ["assert add(1, 2) == 3"])])
    with pytest.raises(EngineError, match="isolation: limits") as error:
        Code(resources=Resources(cpus=1)).rate(answers)
    assert "namespaces" in str(error.value)
    weaker = load_scorer("code", isolation="limits", resources={"cpus": 1})
    assert weaker.score(answers).to_list() == [1.0]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("while True: pass", "time limit of 2 s"),
        ("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", "limit of"),
        ("import socket\nsocket.socket()", "PermissionError"),
        ("import os\nif os.fork() == 0:\n  os.setsid()\n  while True: pass", "another output"),
        ("open('x', 'w').write('x' * 50_000_000)", "File too large"),
    ],
)
def test_the_weaker_kind_keeps_its_limits(program, reason):
    scorer = load_scorer("code", isolation="limits", seconds=2, resources={"cpus": 1})
    answers = table([(program, {"inputs": [""], "outputs": ["42"]})])
    ((value, _, said),) = scorer.rate(answers).ratings.rows()
    assert value == 0.0
    assert reason in said
    assert left_behind() == []


def test_nothing_goes_on_without_who_wanted_it():
    """An actor that is killed takes its programs along."""
    source = (
        "import polars as pl; from cluster.rewards.code import Code\n"
        "answer = 'print(1, flush=True)\\nwhile True: pass'\n"
        "rows = pl.DataFrame({'query': ['q'], 'text': [answer], 'reference': ['assert x']})\n"
        "with Code(seconds=3000).open() as rate: print(flush=True) or rate(rows)"
    )
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as actor:
        try:
            assert actor.stdout.readline() == b"\n"
            wait_until(lambda: len(below(actor.pid)) >= 5)
            started = below(actor.pid)
        finally:
            actor.kill()
    wait_until(lambda: not any(process.is_running() for process in started))


def below(process: int) -> list[psutil.Process]:
    """A warden, and for the answer and the tests each an overseer and what it watches."""
    return psutil.Process(process).children(recursive=True)


def wait_until(holds) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def left_behind() -> list[str]:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if "sandbox.guest" in line]


@pytest.mark.parametrize("setting", [{"isolation": "none"}, {"seconds": 0}, {"processes": 0}])
def test_wrong_settings_are_named(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        load_scorer("code", **setting)


def test_where_it_runs_is_no_part_of_its_identity():
    assert Code(resources=Resources(cpus=3)).scorer_id == Code().scorer_id
    assert Code(partial=True).scorer_id != Code().scorer_id


def test_an_ordinary_user_may_run_them_too():
    """In a namespace where we are user 1000 and have no rights, as on a workstation."""
    source = (
        "import polars as pl; from cluster.rewards.code import Code\n"
        "rows = pl.DataFrame({'query': ['q'], 'text': ['x = 1'], 'reference': ['assert x == 1']})\n"
        "print(Code().score(rows).to_list())"
    )
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    command = ["unshare", "-U", "--map-user=1000", "--map-group=1000", *drop]
    done = subprocess.run(
        [*command, sys.executable, "-c", source], capture_output=True, text=True, check=False
    )
    if "no namespaces" in done.stderr or "unshare failed" in done.stderr:
        pytest.skip("no user namespaces on this machine")
    assert done.stdout.strip() == "[1.0]", done.stderr
