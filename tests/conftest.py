"""Fixtures shared by the whole tree."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from cluster.ray_cluster import prepare_environment
from tests.faults.table import FaultTable

HERE = Path(__file__).parent
SHARED_DATA = HERE.parents[1] / "shared" / "data"
PLANTED_SECRET = "planted-secret-9b1f"
FAULTS = pytest.StashKey[FaultTable]()

# On a machine with other work an example may take any time.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", type=Path, help="write the table of faults to this file")
    parser.addoption("--fault-points", default="", help="die only where this pattern is found")


def pytest_configure(config: pytest.Config) -> None:
    """Ray reads its token settings when it is first imported, by whichever test module.

    Where the user has a token of their own, it is named, so that a command with another home finds
    it as well.
    """
    config.stash[FAULTS] = FaultTable()
    prepare_environment()
    own = Path.home() / ".ray" / "auth_token"
    if "RAY_AUTH_TOKEN" not in os.environ and own.exists():
        os.environ.setdefault("RAY_AUTH_TOKEN_PATH", str(own))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The table of faults, where a test has added to it."""
    table, file = config.stash[FAULTS], config.getoption("--fault-table")
    if table.rows:
        terminalreporter.section("faults")
        terminalreporter.write(table.markdown())
    if table.rows and file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(table.markdown())


@pytest.fixture(scope="session")
def fault_table(pytestconfig: pytest.Config) -> FaultTable:
    """Where a test that breaks something says so."""
    return pytestconfig.stash[FAULTS]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real outcome tables, where a checkout has them beside it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real outcome tables are not beside this checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """A real S3 protocol server on loopback, and the variables that point to it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
    server.stop()


@pytest.fixture
def s3_root(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """URI of an empty prefix in a bucket of its own."""
    import boto3

    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{secrets.token_hex(6)}"
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/prefix"


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place for a lake: once a local folder, once S3."""
    if request.param == "local":
        return str(tmp_path / "lake")
    return str(request.getfixturevalue("s3_root"))


@pytest.fixture(scope="session")
def ray_address(s3_environment: dict[str, str]) -> Iterator[str]:
    """Dashboard address of one Ray cluster that lives as long as the tests."""
    jobs = {"PYTHONPATH": str(HERE / "cluster" / "jobs"), "AWS_SECRET_ACCESS_KEY": PLANTED_SECRET}
    with subprocess.Popen(
        [sys.executable, HERE / "living_ray.py"],
        env=os.environ | s3_environment | jobs,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as ray:
        assert ray.stdout is not None
        word, _, address = ray.stdout.readline().strip().partition(" ")
        assert word == "ADDRESS", "Ray did not start"
        yield address
        assert ray.stdin is not None
        ray.stdin.close()
        ray.wait(60)


@pytest.fixture(scope="session")
def planted_secret() -> str:
    """What stands in the environment of every job on the living Ray, and nowhere else."""
    return PLANTED_SECRET
