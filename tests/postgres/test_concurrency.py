"""A Prefect server on PostgreSQL under 200 task runs that are running at the same time."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.prefect_server import prefect_server

SCRIPT = Path(__file__).parent / "many_tasks.py"
COUNT = 200
# What SQLite says of as many, what a server says that has lost a request, and what a client says
# that has lost an event: where none of this is said, a state that is missing is only late.
TROUBLE = (
    "database is locked",
    "internal server error",
    "traceback",
    "toomanyconnections",
    "failed to process item",
    "unable to connect",
    "dropping",
)


def test_none_of_200_concurrent_task_runs_is_lost(postgres, fault_table, tmp_path: Path) -> None:
    with (
        fault_table.run("200 task runs at once on PostgreSQL", where="Prefect server"),
        prefect_server(tmp_path, url=postgres) as env,
    ):
        done = subprocess.run(
            [sys.executable, SCRIPT, str(COUNT)],
            env=os.environ | env,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        told = json.loads(done.stdout.splitlines()[-1])
        log = (tmp_path / "log").read_text() + done.stderr
        assert told["came_back"] == COUNT
        assert told["states"] == {"COMPLETED": COUNT}
        assert told["artifacts"] == COUNT
        assert [words for words in TROUBLE if words in log.lower()] == [], log[-3000:]
