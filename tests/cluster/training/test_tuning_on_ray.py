import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parent / "tune_on_ray.py"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, pretrained):
    folder = tmp_path_factory.mktemp("tuned")
    command = [sys.executable, SCRIPT, pretrained("bert"), pretrained("llama"), folder]
    subprocess.run(command, check=True, timeout=400, stdout=subprocess.DEVNULL)
    return lambda name: dict(np.load(folder / f"{name}.npz"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["multihead", "causal_lm"])
def test_two_workers_end_with_the_pretrained_weights_of_one_process(trained, method):
    """With dropout, whose draws belong to the rows and not to the worker."""
    alone, two = trained(f"{method}-0"), trained(f"{method}-2")
    assert alone.keys() == two.keys()
    for name, weight in alone.items():
        np.testing.assert_allclose(two[name], weight, atol=2e-5, err_msg=name)
