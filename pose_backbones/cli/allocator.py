"""Keep freed memory in the process, for inference on a CPU under Linux."""

import ctypes
import os
import sys

_KEPT_BYTES = 256 << 20  # limit of the freed memory that stays with the process
#: environment variables with which users configure the allocator
_SETTINGS = (
    'GLIBC_TUNABLES',
    'MALLOC_MMAP_MAX_',
    'MALLOC_MMAP_THRESHOLD_',
    'MALLOC_TRIM_THRESHOLD_',
)


def keep_freed_memory() -> bool:
    """Let glibc keep up to 256 MB of freed memory for the next allocations of this process.

    By default, glibc returns large blocks to the system at once, and each batch allocates its
    memory again. This is a setting of the whole process, so only commands may change it.

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
    return bool(mallopt(-1, _KEPT_BYTES)) and bool(mallopt(-4, 0))
