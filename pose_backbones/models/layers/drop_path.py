"""Stochastic depth (drop path) and its rates.

timm's layer is not used, since every model would import timm with all of its models. The same
holds for its `Mlp` in UniFormer.
"""

from torch import Tensor, nn


class DropPath(nn.Module):
    """Set the residual branch of random samples to zero during training (stochastic depth).

    The branches of the other samples are divided by the probability of keeping them. The random
    numbers are those of timm's layer.

    Paper: [Deep Networks with Stochastic Depth](https://arxiv.org/abs/1603.09382).

    Args:
        drop_prob: Probability of dropping a branch.
    """

    def __init__(self, drop_prob: float):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) → (N, ...)."""
        if not self.training or not self.drop_prob:
            return x
        kept = 1 - self.drop_prob
        mask = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(kept)
        return x * (mask / kept if kept else mask)

    def extra_repr(self) -> str:
        return f'drop_prob={self.drop_prob:g}'


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
