"""What becomes of the hostile programs of the tests, as a table in Markdown.

Usage: python tests/bench/hostile_programs.py
"""

import importlib.util
import tempfile
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).parents[1] / "cluster" / "rewards" / "test_hostile_programs.py"


def loaded() -> ModuleType:
    """The tests: they hold how the programs run, and this shows what they see."""
    spec = importlib.util.spec_from_file_location("hostile", TESTS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    tests = loaded()
    with tempfile.TemporaryDirectory() as folder, tests.listening(Path(folder)) as outside:
        ratings = tests.rated(outside)
        heard = len(outside.heard())
    print("| Program | What it tries | Value | Reason |\n|---|---|---|---|")
    for program in tests.PROGRAMS:
        rating = ratings[program["name"]]
        reason = rating["reason"].replace("|", "\\|").replace("\n", " ")[:120]
        print(f"| {program['name']} | {program['tries']} | {rating['value']:g} | {reason} |")
    passed = sum(ratings[name]["value"] > 0 for name in tests.NAMES)
    print(f"\n{len(tests.NAMES)} programs, {passed} passed, {heard} reached the network.")


if __name__ == "__main__":
    main()
