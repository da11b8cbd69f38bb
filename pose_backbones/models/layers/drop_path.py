"""Rates of stochastic depth (drop path)."""


def drop_path_rates(last: float, count: int, first: float = 0.0) -> list[float]:
    """Return the drop path rate of each block, which rises linearly from `first` to `last`.

    timm's `calculate_drop_path_rates` is not used, since it cannot run on the device `meta`, on
    which the names and shapes of architectures are determined.

    Args:
        last: Rate of the last block.
        count: Number of blocks.
        first: Rate of the first block, and of the only one.
    """
    return [first + (last - first) * i / max(count - 1, 1) for i in range(count)]
