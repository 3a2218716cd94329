"""How the workers of a training find each other.

Ray Train has them meet at a port that torch opens on every interface, whatever address it is given.
On a cluster that listens on loopback alone all of them are on one machine, so there they meet at a
file, and what they say to each other goes over loopback as well.
"""

import ipaddress
import os
import shutil
import socket
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _TorchBackend
from ray.util import get_node_ip_address


class MeetingConfig(TorchConfig):
    """Ray Train's torch, whose workers meet at a file where the cluster is on loopback."""

    @property
    def backend_cls(self) -> type["Meeting"]:
        return Meeting


class Meeting(_TorchBackend):
    """Sets the workers' process group up and takes it down."""

    folder: Path | None = None

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Called when workers have started, and again when they were started anew."""
        if not is_loopback(worker_group.execute_single(0, get_node_ip_address)):
            super().on_start(worker_group, backend_config)
            return
        # This process is on the workers' machine.
        self.folder = Path(tempfile.mkdtemp(prefix="signalbox-meeting-"))
        on_gpus = worker_group.get_resources_per_worker().get("GPU", 0) > 0
        worker_group.execute(_set_torch_distributed_env_vars)
        worker_group.execute(
            meet,
            file=str(self.folder / "store"),
            backend=backend_config.backend or ("nccl" if on_gpus else "gloo"),
            timeout_s=backend_config.timeout_s,
        )

    def on_shutdown(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Called before the workers end."""
        try:
            super().on_shutdown(worker_group, backend_config)
        finally:
            if self.folder is not None:
                shutil.rmtree(self.folder, ignore_errors=True)


def meet(*, file: str, backend: str, timeout_s: float) -> None:
    """Join this worker's process group, of which nothing listens beyond loopback."""
    from torch.distributed import init_process_group

    interface = loopback_interface()
    os.environ["GLOO_SOCKET_IFNAME"] = interface
    os.environ["NCCL_SOCKET_IFNAME"] = f"={interface}"
    init_process_group(
        backend=backend,
        init_method=f"file://{file}",
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=timedelta(seconds=timeout_s),
    )


def loopback_interface() -> str:
    """The name of this machine's loopback: `lo` on Linux, `lo0` on macOS."""
    return next(name for _, name in socket.if_nameindex() if name in ("lo", "lo0"))


def is_loopback(address: str) -> bool:
    """Whether an address can be reached from its own machine alone."""
    return ipaddress.ip_address(address).is_loopback
