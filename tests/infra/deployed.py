"""What the files of `infra/` may name: settings, programs and options that are really there."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import ray
import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
# Settings of other projects' images, from their manuals.
FOREIGN = {
    "HF_HOME",
    "MINIO_BROWSER",
    "MINIO_ROOT_PASSWORD",
    "MINIO_ROOT_USER",
    "NVIDIA_DRIVER_CAPABILITIES",
    "PATH",
    "PGDATA",
    "POSTGRES_DB",
    "POSTGRES_PASSWORD",
    "POSTGRES_USER",
}
PIP = {"PIP_DISABLE_PIP_VERSION_CHECK", "PIP_NO_CACHE_DIR"}
# Where Ray's own source speaks of its variables.
RAY_SOURCES = (
    "_private/authentication/authentication_token_setup.py",
    "_private/worker.py",
    "_common/usage/usage_constants.py",
    "exceptions.py",
)


@cache
def settings() -> frozenset[str]:
    """Every environment variable that something here reads."""
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_valid_setting_names
    from prefect_kubernetes.settings import KubernetesSettings

    prefect = _get_valid_setting_names(Settings) | _get_valid_setting_names(KubernetesSettings)
    ours = "".join(path.read_text() for path in ROOT.glob("cluster/**/*.py"))
    rays = "".join((Path(ray.__file__).parent / name).read_text() for name in RAY_SOURCES)
    named = re.findall(r"\b(?:SIGNALBOX|AWS)_[A-Z_]+\b", ours) + re.findall(r"\bRAY_[A-Z_]+", rays)
    return frozenset({*prefect, *named, *FOREIGN, *PIP})


def unknown_settings(names: Iterator[str] | list[str]) -> list[str]:
    """Those that nothing reads; NAME_FILE stands for NAME, as `with-secrets` has it."""
    known = settings()
    return [name for name in names if name not in known and name.removesuffix("_FILE") not in known]


@cache
def options(*command: str) -> frozenset[str]:
    """Options that `prefect … --help` or `ray start --help` tells of."""
    import subprocess
    import sys

    words = list(command)
    program = str(Path(sys.executable).parent / words[0])
    told = subprocess.run(
        [program, *words[1:], "--help"], capture_output=True, text=True, check=True, timeout=180
    )
    return frozenset(re.findall(r"--[a-z][a-z-]*", told.stdout))


def documents(path: Path) -> list[dict[str, Any]]:
    """The YAML documents of a file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def project_version() -> str:
    """The version of pyproject.toml, which is every image's tag."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])
