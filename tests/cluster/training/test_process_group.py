import os
import subprocess
import sys

import pytest

from cluster.training.process_group import is_loopback

# A worker of two: adds its rank + 1 to the other's, and tells what it listens on meanwhile.
WORKER = """
import sys
import psutil
import torch
from cluster.training.process_group import meet
meet(file=sys.argv[1], backend="gloo", timeout_s=300)
total = torch.tensor([torch.distributed.get_rank() + 1])
torch.distributed.all_reduce(total)
sockets = psutil.Process().net_connections("inet")
listening = {one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN}
torch.distributed.barrier()
torch.distributed.destroy_process_group()
print(int(total), *listening)
"""


def test_workers_meet_at_a_file_and_listen_on_loopback_alone(tmp_path):
    file = tmp_path / "store"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, file],
            env=os.environ | {"RANK": str(rank), "WORLD_SIZE": "2"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for worker in workers:
        told, _ = worker.communicate(timeout=300)
        total, *addresses = told.split()
        assert total == "3"
        assert addresses
        assert all(is_loopback(address) for address in addresses)
    assert not file.exists(), "nothing is left of the meeting"


@pytest.mark.parametrize(
    ("address", "expected"), [("127.0.0.1", True), ("::1", True), ("192.0.2.2", False)]
)
def test_only_a_cluster_on_loopback_meets_at_a_file(address, expected):
    assert is_loopback(address) is expected
