"""The arrows point one way: flows → tasks → cluster, and nothing heavy or unsafe on the way."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("cluster", "tasks", "flows")
# Imports modules where some packages cannot be imported; tells of every module that fails.
BLOCKED_IMPORTS = """
import importlib, importlib.machinery, sys, traceback

class Blocker:
    # Looking whether a package is there is allowed (polars does); importing it is not.
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        raise ImportError(f"{spec.name} is blocked")

    def exec_module(self, module):
        raise AssertionError("never made")

BLOCKED = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Blocker())
failed = 0
for module in sys.argv[2:]:
    try:
        importlib.import_module(module)
    except Exception:
        failed += 1
        print(module, traceback.format_exc(limit=-6), file=sys.stderr)
loaded = BLOCKED & {name.partition(".")[0] for name in sys.modules}
print(f"failed {failed} loaded {sorted(loaded)}")
"""


def sources(layer: str) -> list[Path]:
    found = sorted((ROOT / layer).rglob("*.py"))
    assert found, f"no module in {layer}"
    return found


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def trees(*layers: str) -> Iterator[tuple[str, ast.Module]]:
    for layer in layers:
        for path in sources(layer):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """Top packages a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize(
    ("blocked", "layers"),
    [("prefect", ("cluster",)), ("torch,vllm,transformers", ("tasks", "flows"))],
)
def test_modules_import_without(blocked: str, layers: tuple[str, ...]) -> None:
    modules = [module_name(path) for layer in layers for path in sources(layer)]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED_IMPORTS, blocked, *modules],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.stdout.strip() == "failed 0 loaded []", done.stderr


def test_no_module_imports_upwards() -> None:
    upwards = [
        (file, package)
        for number, layer in enumerate(LAYERS)
        for file, tree in trees(layer)
        for package in imported(tree)
        if package in LAYERS[number + 1 :]
    ]
    assert upwards == []


def test_cluster_never_imports_prefect_even_inside_a_function() -> None:
    assert [file for file, tree in trees("cluster") if "prefect" in imported(tree)] == []


def test_nothing_is_unpickled() -> None:
    unsafe = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    found = [(file, unsafe & set(imported(tree))) for file, tree in trees(*LAYERS)]
    assert [file for file, packages in found if packages] == []


def test_no_remote_code_is_trusted_and_arrays_load_without_objects() -> None:
    trusted = [
        (file, keyword.value.lineno)
        for file, tree in trees(*LAYERS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg in ("trust_remote_code", "allow_pickle")
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
    ]
    assert trusted == []


def test_only_the_command_line_prints() -> None:
    printing = {
        file
        for file, tree in trees(*LAYERS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id == "print"
    }
    assert printing == {"flows/cli.py"}
