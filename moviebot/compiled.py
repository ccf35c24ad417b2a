"""Loops over numbers, compiled by numba at first use (seconds, then kept on disk)."""

from collections.abc import Callable
from typing import Any

import numba


def compile_loop(function: Callable[..., Any], **options: object) -> Callable[..., Any]:
    """Compile a function of arrays and numbers; it lets go of Python's lock.

    Args:
        function: plain Python, in the part of it that numba knows.
        options: of ``numba.njit``.
    """
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        compiled = numba.njit(nogil=True, **options)(function)
    return compiled
