"""Keep freed memory in the process, for inference and training on a CPU under Linux."""

import ctypes
import os
import sys

#: limits of the freed memory that stays with the process; glibc has no larger one than the second
INFERENCE_BYTES, TRAINING_BYTES = 256 << 20, 2**31 - 1
#: environment variables with which users configure the allocator
_SETTINGS = (
    'GLIBC_TUNABLES',
    'MALLOC_MMAP_MAX_',
    'MALLOC_MMAP_THRESHOLD_',
    'MALLOC_TRIM_THRESHOLD_',
)


def keep_freed_memory(limit: int = INFERENCE_BYTES) -> bool:
    """Let glibc keep freed memory for the next allocations of this process.

    By default, glibc returns large blocks to the system at once, and each batch allocates its
    memory again. This is a setting of the whole process, so only commands may change it.

    Args:
        limit: Maximum size of the freed memory in bytes.

    Returns:
        Whether the setting was changed. It is not changed without glibc, or if environment
        variables configure the allocator.
    """
    if not sys.platform.startswith('linux') or any(name in os.environ for name in _SETTINGS):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:  # another C library
        return False
    # M_TRIM_THRESHOLD and M_MMAP_MAX
    return bool(mallopt(-1, limit)) and bool(mallopt(-4, 0))
