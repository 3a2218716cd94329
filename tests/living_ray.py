"""A Ray cluster of its own process, started as a command starts it; ends with its stdin."""

import sys

from cluster.ray_cluster import cluster_address, prepare_environment

if __name__ == "__main__":
    prepare_environment()
    with cluster_address() as address:
        print(f"ADDRESS {address}", flush=True)
        sys.stdin.read()
