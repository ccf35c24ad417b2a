"""Which number format a device really computes in.

``torch.cuda.is_bf16_supported()`` is also true where bfloat16 is only emulated (T4, V100), and a CPU without bfloat16
instructions runs it about 20 times slower than float32; so the hardware itself is asked.
"""

from typing import Literal

import torch

ComputeDtype = Literal["auto", "float32", "bfloat16", "float16"]
AMPERE = (8, 0)  # the first CUDA capability with bfloat16 units


def choose_dtype(setting: ComputeDtype, device: torch.device) -> torch.dtype:
    """Return the dtype to compute in.

    Args:
        setting: ``auto`` or a dtype's name.
        device: where the computation runs.

    Returns:
        bfloat16 where the device has it in hardware; else float16 on CUDA, float32 on a CPU.

    Example:
        >>> choose_dtype("float16", torch.device("cpu"))
        torch.float16
    """
    if setting != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[setting]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= AMPERE else torch.float16
    return torch.bfloat16 if device.type == "cpu" and cpu_has_bf16() else torch.float32


def cpu_has_bf16() -> bool:
    """Say whether this CPU multiplies bfloat16 matrices in hardware (AVX512-BF16 or AMX)."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
