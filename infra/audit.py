"""Ask an audit database about every package of every lock; `make audit`.

    python infra/audit.py --pip-audit PROGRAM             # fails when it cannot ask
    python infra/audit.py --pip-audit PROGRAM --reachable # says so and goes on when it cannot ask

A package the database has not heard of is told as not audited: pip-audit passes over it and calls
the rest clean, and a registry that has no audit data at all has heard of none.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

LOCKS = Path(__file__).parent / "locks"
SERVICES = ("osv", "pypi")
CLEAN, FOUND, UNASKED = 0, 1, 2


@dataclass(frozen=True)
class Audit:
    """What a database said.

    Attributes:
        audited: packages it knows.
        unknown: names it does not know.
        found: one line for each known vulnerability.
    """

    audited: int
    unknown: list[str]
    found: list[str]


def pinned() -> list[str]:
    """Every `name==version` of every lock, once; of a local version what it was built from."""
    lines = [line for path in LOCKS.glob("*.txt") for line in path.read_text().splitlines()]
    return sorted({line.partition("+")[0] for line in lines if line and not line.startswith("#")})


def read_report(text: str) -> Audit | None:
    """pip-audit's JSON; None where the database told of no package, so that nothing was audited."""
    try:
        packages = json.loads(text)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    known = [package for package in packages if "vulns" in package]
    found = [
        f"{package['name']} {package['version']}: {one['id']}"
        + (f", mended in {' or '.join(one['fix_versions'])}" if one.get("fix_versions") else "")
        for package in known
        for one in package["vulns"]
    ]
    unknown = [package["name"] for package in packages if "vulns" not in package]
    return Audit(audited=len(known), unknown=unknown, found=found) if known else None


def ask(program: str, *, service: str, pins: list[str]) -> Audit | None:
    """What a database says of the packages; None when it cannot be asked."""
    known: list[Audit] = []
    # Two versions of one package (torch's protobuf and ours) cannot stand in one list.
    for batch in _without_doubles(pins):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("\n".join(batch))
            file.flush()
            words = [program, "-r", file.name, "--no-deps", "--disable-pip", "-f", "json"]
            words += ["--progress-spinner", "off", "--timeout", "15", "-s", service]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        report = read_report(done.stdout)
        if report is None:
            return None
        known.append(report)
    return Audit(
        audited=sum(one.audited for one in known),
        unknown=[name for one in known for name in one.unknown],
        found=[line for one in known for line in one.found],
    )


def _without_doubles(pins: list[str]) -> list[list[str]]:
    batches: list[dict[str, str]] = []
    for pin in pins:
        name = pin.partition("==")[0].lower()
        batch = next((one for one in batches if name not in one), None)
        if batch is None:
            batch = {}
            batches.append(batch)
        batch[name] = pin
    return [list(batch.values()) for batch in batches]


def audit(program: str) -> int:
    """Ask the databases in turn and say what came of it; an exit status."""
    pins = pinned()
    for service in SERVICES:
        told = ask(program, service=service, pins=pins)
        if told is None:
            _say(f"audit: the database of {service} is not reachable, or knows none of these")
            continue
        for line in told.found:
            _say(f"audit: {line}")
        if told.unknown:
            _say(f"audit: NOT AUDITED, unknown to {service}: {', '.join(told.unknown)}")
        _say(
            f"audit: {len(told.found)} known vulnerabilities in {told.audited} of {len(pins)} "
            f"pinned packages, by {service}"
        )
        return FOUND if told.found else CLEAN
    _say(f"audit: NOT DONE: no audit database is reachable; {len(pins)} packages were not audited")
    return UNASKED


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pip-audit", required=True)
    parser.add_argument("--reachable", action="store_true")
    chosen = parser.parse_args()
    status = audit(chosen.pip_audit)
    sys.exit(CLEAN if status == UNASKED and chosen.reachable else status)
