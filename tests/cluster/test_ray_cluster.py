"""Ray's life and its token: who may talk to it, and that it ends with whoever started it."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.jobs.client import check_cluster
from cluster.ray_cluster import ADDRESS_VARIABLE, cluster_address, prepare_environment

HERE = Path(__file__).parent
LIVING_RAY = HERE.parent / "living_ray.py"
RAY_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_COLOR_PREFIX")
# The agents beside a killed raylet need a minute to notice.
SERVERS = ("raylet/raylet", "gcs/gcs_server", "dashboard/dashboard.py")
FRESH_TOKEN = "from cluster.ray_cluster import prepare_environment as p; p(); import os; "


def status_of(url: str, *, token: str = "") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def token_here() -> str:
    if "RAY_AUTH_TOKEN" in os.environ:
        return os.environ["RAY_AUTH_TOKEN"]
    path = os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token")
    return Path(path).read_text().strip()


@pytest.mark.parametrize("path", ["/api/version", "/api/jobs/", "/nodes?view=summary"])
def test_the_dashboard_lets_nobody_in_without_the_token(ray_address: str, path: str) -> None:
    assert status_of(ray_address + path) == 401
    assert status_of(ray_address + path, token="0" * 64) in (401, 403)
    assert status_of(ray_address + path, token=token_here()) == 200


def test_nobody_submits_a_job_without_the_token(ray_address: str, tmp_path: Path) -> None:
    request = urllib.request.Request(
        f"{ray_address}/api/jobs/",
        data=f'{{"entrypoint": "touch {tmp_path}/x"}}'.encode(),
        headers={"Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request)
    assert not (tmp_path / "x").exists()


def run_python(code: str, *, home: Path, **variables: str) -> str:
    """What code prints in a process of its own, in a home of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in RAY_VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"HOME": str(home)} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_new_token_is_readable_by_its_user_alone_and_gone_in_the_end(tmp_path: Path) -> None:
    path = "os.environ['RAY_AUTH_TOKEN_PATH']"
    told = run_python(
        f"{FRESH_TOKEN}print(oct(os.stat({path}).st_mode), len(open({path}).read()), {path})",
        home=tmp_path,
        TMPDIR=str(tmp_path),
    )
    mode, length, file = told.split()
    assert stat.S_IMODE(int(mode, 8)) == 0o600
    assert int(length) == 64
    assert Path(file).is_relative_to(tmp_path)
    assert list(tmp_path.rglob("token")) == []


def test_two_tokens_differ(tmp_path: Path) -> None:
    code = FRESH_TOKEN + "print(open(os.environ['RAY_AUTH_TOKEN_PATH']).read())"
    assert run_python(code, home=tmp_path) != run_python(code, home=tmp_path)


@pytest.mark.parametrize(
    "given",
    [
        {"RAY_AUTH_MODE": "disabled"},
        {"RAY_AUTH_TOKEN": "my-own-token"},
        {"RAY_AUTH_TOKEN_PATH": "/my/own/token"},
    ],
)
def test_what_the_user_has_set_stays(tmp_path: Path, given: dict[str, str]) -> None:
    code = f"{FRESH_TOKEN}print([os.environ.get(name, '') for name in {RAY_VARIABLES[:3]}])"
    expected = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": ""} | given
    assert run_python(code, home=tmp_path, **given) == str(list(expected.values()))


def test_the_token_of_the_user_s_own_ray_is_used(tmp_path: Path) -> None:
    own = tmp_path / ".ray" / "auth_token"
    own.parent.mkdir()
    own.write_text("own")
    code = FRESH_TOKEN + "print('RAY_AUTH_TOKEN_PATH' in os.environ)"
    assert run_python(code, home=tmp_path) == "False"


def test_a_given_address_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, "http://from-environment:8265")
    with cluster_address() as address:
        assert address == "http://from-environment:8265"
    with cluster_address("http://head:8265") as address:
        assert address == "http://head:8265"


def test_ray_gets_the_cores_that_are_ours_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = []

    class Recorder:
        webui_url, address = "127.0.0.1:1", "127.0.0.1:2"

        def __init__(self, *, initialize_head: bool, head_node_args: dict) -> None:
            heads.append(head_node_args)

        def shutdown(self) -> None:
            pass

    prepare_environment()
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    monkeypatch.setattr("ray.cluster_utils.Cluster", Recorder)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 7})
    with cluster_address() as address:
        assert address == "http://127.0.0.1:1"
    assert heads[0]["num_cpus"] == 3


def start_ray() -> tuple[subprocess.Popen[str], str]:
    prepare_environment()
    process = subprocess.Popen(
        [sys.executable, LIVING_RAY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip().removeprefix("ADDRESS ")


def descendants(pid: int) -> dict[int, str]:
    """Every process below one, with its start time: a pid may be given out again."""
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        for path in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            for child in map(int, path.read_text().split()):
                found[child] = started(child)
                waiting.append(child)
    return found


def started(pid: int) -> str:
    """Start time in ticks; empty when the process is gone or a zombie."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if state == "Z" else rest[18]


def wait_until(condition: Callable[[], object], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.2)


@pytest.mark.parametrize("end", ["block", "kill"])
def test_a_local_cluster_beside_another_takes_jobs_and_ends_with_its_starter(
    ray_address: str, end: str, tmp_path: Path
) -> None:
    process, address = start_ray()
    try:
        assert address != ray_address
        below = {
            pid: start
            for pid, start in descendants(process.pid).items()
            if any(name in Path(f"/proc/{pid}/cmdline").read_text() for name in SERVERS)
        }
        assert len(below) == len(SERVERS)
        if end == "block":
            submit_and_wait(address, marker=tmp_path / "marker")
            process.communicate(timeout=60)
            assert process.returncode == 0
        else:
            process.send_signal(signal.SIGKILL)
            process.wait()
        wait_until(
            lambda: not any(started(pid) == start for pid, start in below.items()), seconds=30
        )
        check_cluster(ray_address)
    finally:
        process.kill()
        process.wait()


def submit_and_wait(address: str, *, marker: Path) -> None:
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(address)

    def submitted() -> bool:
        try:
            client.submit_job(entrypoint=f"touch {marker}")
        except RuntimeError:  # no agent has registered yet
            return False
        return True

    wait_until(submitted, seconds=60)
    wait_until(marker.exists, seconds=60)


def test_a_cluster_starts_on_a_machine_where_ray_never_ran() -> None:
    # Short, because Ray's sockets lie below it and a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="sb", dir="/tmp") as folder:
        start = "with cluster_address() as address: print(address)"
        environment = {
            k: v for k, v in os.environ.items() if k not in ("RAY_TMPDIR", "RAY_ADDRESS")
        }
        found = subprocess.run(
            [sys.executable, "-c", f"from cluster.ray_cluster import cluster_address\n{start}"],
            env=environment | {"TMPDIR": folder, ADDRESS_VARIABLE: ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert found.stdout.startswith("http://127.0.0.1:"), found.stderr
