"""One query for each person, so that the sum of their costs is least."""

from collections.abc import Callable, Mapping, Sequence
from math import prod, sqrt

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...registry import TASK_UTILS
from ...utils.arguments import check_flag

#: the size of a pixel of the finest map of queries in pixels of the output
_STRIDE = 2


@TASK_UTILS.register_module()
class PoseHungarianAssigner:
    """Assign people to queries one to one (Hungarian matching).

    Queries that are not valid, that may not find people of that size, or
    whose cost is not a number (as predictions are that overflow in half
    precision) are assigned to nobody. A person for whom no query is left
    gets none.

    A map of queries may find people up to a size: the coarsest any, each
    finer one half as large ones as the next; with three maps, people of
    more than a quarter of the output's size are not the finest one's.

    Costs are computed where the outputs are; what goes to the CPU, at once,
    are for each person the costs of as many queries as there are people in
    an image: of n people, none needs more than its n best queries, since of
    these at least one is left by the n - 1 others. The assignment is that of
    all costs.

    Source: https://github.com/CR320/ConvNeXtPose. Deviations: there, an image
    is also compared with the people of all others; and a person with no query
    to be had gets a random one, with which the losses go on.

    Args:
        costs: Configs of costs (`match_costs`), or functions of their kind,
            which are added up; None: `BinaryFocalCost`, `JointL1Cost` and
            `LimbL1Cost`, with their default values, which are for COCO.
        constrain_sizes: Whether a map of queries has only people up to a
            size.

    Raises:
        ValueError: If there are no costs.
    """

    def __init__(
        self, costs: Sequence[dict | Callable] | None = None, constrain_sizes: bool = True
    ):
        check_flag('constrain_sizes', constrain_sizes)
        if costs is None:
            costs = [
                dict(type=f'pose_backbones.{name}')
                for name in ('BinaryFocalCost', 'JointL1Cost', 'LimbL1Cost')
            ]
        if not costs:
            raise ValueError(f'costs is {costs!r}: expected one at least')
        self.costs = [TASK_UTILS.build(cost) if isinstance(cost, dict) else cost for cost in costs]
        self.constrain_sizes = constrain_sizes

    @torch.no_grad()
    def __call__(
        self, outputs: Mapping, shapes: Sequence[tuple[int, int]], targets: Mapping, valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Assign the people of a batch.

        Args:
            outputs: `confidences`, logits (N, Q, 1), and `joints`
                (N, Q, K, 2), x and y in pixels of the output map.
            shapes: Height and width of each map of queries, the finest
                first; a pixel of that is two of the output's.
            targets: `joints` (N, M, K, 3), x, y, and 1 for joints that
                count; people without any are none. `areas` and `sizes`
                (N, M), in (square) pixels of the output.
            valid: (N, Q), whether a query may have a person.

        Returns:
            Indices of images, queries and people, each (P,), by image, then
            query.

        Raises:
            ValueError: If maps and outputs have not the same queries.
        """
        queries = outputs['joints'].shape[1]
        if sum(map(prod, shapes)) != queries:
            raise ValueError(
                f'shapes are {[tuple(shape) for shape in shapes]}: expected '
                f'maps of {queries} queries altogether, as in the outputs'
            )
        there = (targets['joints'][..., 2] > 0).any(-1)
        order = torch.arange(1, there.shape[1] + 1, device=there.device)
        people = int((there * order).max()) if there.numel() else 0
        targets = {key: targets[key][:, :people] for key in ('joints', 'areas', 'sizes')}
        found = [np.empty((3, 0), np.int64)]
        if people:
            costs = self._compute(outputs, targets)
            barred = ~(there[:, :people, None] & valid[:, None].bool())
            if self.constrain_sizes:
                barred |= _too_large(targets['sizes'], shapes)
            costs.masked_fill_(barred, torch.inf)
            best = costs.topk(min(people, queries), largest=False)
            values, indices = (
                torch.stack((best.values.double(), best.indices.double())).cpu().numpy()
            )
            found += [
                _assign(image, *one)
                for image, one in enumerate(zip(values, indices.astype(np.int64)))
            ]
        result = torch.from_numpy(np.concatenate(found, axis=1))
        return tuple(result.to(there.device))

    def _compute(self, outputs: Mapping, targets: Mapping) -> Tensor:
        """Sum of the costs (N, M, Q), infinite for what is not finite."""
        shape = (len(targets['areas']), targets['areas'].shape[1], outputs['joints'].shape[1])
        total = sum(cost(outputs, targets) for cost in self.costs)
        return total.expand(shape).nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=torch.inf)


def _too_large(sizes: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
    """Whether people (N, M) are too large for queries: (N, M, Q)."""
    output_size = _STRIDE * sqrt(prod(shapes[0]))
    flags = []
    for level, shape in enumerate(shapes):
        halvings = len(shapes) - 1 - level
        limit = output_size / 2**halvings if halvings else torch.inf
        flags.append((sizes > limit)[..., None].expand(-1, -1, prod(shape)))
    return torch.cat(flags, -1)


def _assign(image: int, costs: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Assign the people of one image.

    Args:
        image: Its index.
        costs: (M, P), of each person's best queries, the best first.
        queries: (M, P), which these are.

    Returns:
        Indices of the image, queries and people: (3, n), by query.
    """
    (people,) = np.nonzero(np.isfinite(costs).any(1))
    count = len(people)
    if not count:
        return np.empty((3, 0), np.int64)
    costs, queries = costs[people, :count], queries[people, :count]
    finite = np.isfinite(costs)
    # Dearer than any assignment of people to what they may have.
    never = 1 + 2 * count * np.abs(costs[finite]).max()
    columns, where = np.unique(queries, return_inverse=True)
    matrix = np.full((count, len(columns)), never)
    np.put_along_axis(matrix, where.reshape(queries.shape), np.where(finite, costs, never), axis=1)
    rows, picked = linear_sum_assignment(matrix)
    real = matrix[rows, picked] < never
    found = np.stack((np.full(real.sum(), image), columns[picked[real]], people[rows[real]]))
    return found[:, found[1].argsort()]
