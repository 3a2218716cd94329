"""A Ray cluster of several nodes on one machine, each at an address of its own.

The head has no CPU: it holds the drivers of jobs, as on Kubernetes. Prints the
dashboard's address and the cluster's, then for every `add` on stdin starts a node with one CPU and
prints the process id of its raylet and its address; ends with its stdin.
"""

import json
import sys
import tempfile
from pathlib import Path

from cluster.ray_cluster import prepare_environment

OBJECT_STORE_BYTES = 96 * 2**20


def main() -> None:
    prepare_environment()
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="nodes-", ignore_cleanup_errors=True) as folder:
        shared = {"object_store_memory": OBJECT_STORE_BYTES, "dashboard_agent_listen_port": 0}
        head = {"temp_dir": folder, "num_cpus": 0}
        board = {"include_dashboard": True, "dashboard_port": None}
        cluster = Cluster(initialize_head=True, head_node_args=head | board | shared)
        # Where Ray looks up which cluster a job belongs to.
        Path(folder, "ray_current_cluster").write_text(cluster.address)
        print(json.dumps(["http://" + cluster.webui_url, cluster.address]), flush=True)
        for number, _ in enumerate(sys.stdin, start=2):
            node = cluster.add_node(num_cpus=1, node_ip_address=f"127.0.0.{number}", **shared)
            (raylet,) = node.all_processes["raylet"]
            print(json.dumps([raylet.process.pid, node.node_ip_address]), flush=True)
        cluster.shutdown()


if __name__ == "__main__":
    main()
