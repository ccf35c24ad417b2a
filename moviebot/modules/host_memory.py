"""Memory of the host: giving freed tensors back, so that training does not grow with the mix of lengths."""

import ctypes
import sys

_M_MMAP_THRESHOLD = -3  # glibc's malloc.h
_THRESHOLD_BYTES = 1 << 20


def return_freed_tensors() -> bool:
    """Let each tensor above 1 MiB be its own mapping, which the system gets back when the tensor is freed.

    glibc raises that threshold as large blocks are freed. Batches of unequal length then leave holes that no later
    tensor fits: a training that needs 1.8 GiB had taken 4.5 GiB after 80 steps. It costs no measurable time.

    Returns:
        Whether the C library took it (glibc on Linux does; elsewhere nothing happens).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl has none
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES))
