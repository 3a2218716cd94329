"""A Ray cluster of several nodes on one machine, each at an address of its own.

The head has no CPU: it holds the drivers of jobs, as on Kubernetes. Prints the
dashboard's address and the cluster's, then for every `add` on stdin starts a node with one CPU and
prints the process id of its raylet and its address; ends with its stdin.
"""

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from cluster.ray_cluster import prepare_environment

OBJECT_STORE_BYTES = 96 * 2**20
START_TURNS = 5


def patiently(start: Callable[[], Any]) -> Any:
    """On a machine with other work Ray's own 30 s for a start are sometimes too few."""
    for _ in range(START_TURNS - 1):
        # Ray raises a bare Exception.
        with contextlib.suppress(Exception):
            return start()
    return start()


def main() -> None:
    prepare_environment()
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="nodes-", ignore_cleanup_errors=True) as folder:
        shared = {"object_store_memory": OBJECT_STORE_BYTES, "dashboard_agent_listen_port": 0}
        head = {"temp_dir": folder, "num_cpus": 0}
        board = {"include_dashboard": True, "dashboard_port": None}
        cluster = patiently(
            lambda: Cluster(initialize_head=True, head_node_args=head | board | shared)
        )
        # Where Ray looks up which cluster a job belongs to.
        Path(folder, "ray_current_cluster").write_text(cluster.address)
        print(json.dumps(["http://" + cluster.webui_url, cluster.address]), flush=True)
        for number, _ in enumerate(sys.stdin, start=2):
            own = {"num_cpus": 1, "node_ip_address": f"127.0.0.{number}"} | shared
            node = patiently(partial(cluster.add_node, **own))
            (raylet,) = node.all_processes["raylet"]
            print(json.dumps([raylet.process.pid, node.node_ip_address]), flush=True)
        cluster.shutdown()


if __name__ == "__main__":
    main()
