"""Freed memory goes back to the system."""

import sys
from pathlib import Path

import pytest
import torch

from moviebot.modules.host_memory import trim_host_memory


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can")
def test_freed_tensors_go_back() -> None:
    if not trim_host_memory():
        pytest.skip("the C library is not glibc")
    # Small enough for the heap, with one between each that stays: holes that the heap's end can't give back.
    tensors = [torch.ones(16_000) for _ in range(4000)]
    full = resident_bytes()
    kept = tensors[::50]
    del tensors
    trim_host_memory()
    assert resident_bytes() < full - 0.7 * 4000 * 64_000
    assert float(kept[-1].sum()) == 16_000


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not trim_host_memory()
