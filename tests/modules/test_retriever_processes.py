"""Two real processes train as one with twice the batch: negatives are gathered, gradients are of the same scale."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).with_name("train_retriever_in_processes.py")
ROOT = SCRIPT.parents[2]


def train(encoder: Path, data: Path, out: Path, processes: int, batch_size: int) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(encoder), str(data), str(out), str(processes), str(batch_size)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = torch.load(out, weights_only=True)
    assert found["world"] == processes
    return found


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_at_the_same_global_batch(
    tmp_path: Path, tiny_encoder: Path, pairs_dir: Path
) -> None:
    one = train(tiny_encoder, pairs_dir, tmp_path / "one.pt", 1, 8)
    two = train(tiny_encoder, pairs_dir, tmp_path / "two.pt", 2, 4)
    half = train(tiny_encoder, pairs_dir, tmp_path / "half.pt", 1, 4)
    assert len(one["losses"]) == len(two["losses"]) == 6
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert one["losses"][0] > one["losses"][-1], "it learns"
    for name, weight in one["weights"].items():
        # Adam divides by the gradient's own size: float noise in a gradient near zero is a step of up to the rate.
        torch.testing.assert_close(two["weights"][name], weight, rtol=1e-2, atol=5e-4)
    # Without the other process's negatives the loss is of 4 documents, not of 8.
    assert half["losses"][0] < 0.9 * one["losses"][0]
