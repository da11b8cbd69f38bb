"""Versions of the compilers, which `mmcv.utils.collect_env` reports."""


def get_compiler_version() -> str:
    """Return 'n/a', as mmcv reports if it has no operators."""
    return 'n/a'


def get_compiling_cuda_version() -> str:
    """Return 'n/a', as mmcv reports if it has no operators."""
    return 'n/a'
