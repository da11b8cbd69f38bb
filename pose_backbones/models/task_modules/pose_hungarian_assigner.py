"""Hungarian matching of queries and people."""

from collections.abc import Callable, Mapping, Sequence
from math import prod, sqrt

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...registry import TASK_UTILS
from ...utils.arguments import check_flag

#: size of a pixel of the finest query map, in pixels of the output
_STRIDE = 2


@TASK_UTILS.register_module()
class PoseHungarianAssigner:
    """Assign people to queries one to one (Hungarian matching).

    A query is not assigned to a person if the query is not valid, if the size of the person exceeds
    the limit of the query's map, or if the cost is not finite (predictions can overflow in half
    precision). A person without a remaining query is not assigned.

    Each query map has a limit for the size of people. The coarsest map has no limit, and the limit
    of each finer map is half that of the next coarser one. With three maps, the finest map is not
    assigned people that are larger than a quarter of the output's size.

    Costs are computed on the device of the outputs. Of n people in an image, each needs only its n
    best queries, since the n - 1 others can take at most n - 1 of them. Only these costs are copied
    to the CPU, in one transfer. The assignment is the same as with all costs.

    Source: https://github.com/CR320/ConvNeXtPose. Deviations: the original also compares an image
    with the people of all other images of the batch, and assigns a random query to a person without
    a possible query.

    Args:
        costs: Configs of costs (see `match_costs`), or functions with the same signature; their
            values are summed. None means `BinaryFocalCost`, `JointL1Cost` and `LimbL1Cost`, with
            their default values, which are for COCO.
        constrain_sizes: Whether query maps have a limit for the size of people.

    Raises:
        ValueError: If `costs` is empty.
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
            raise ValueError(f'costs is {costs!r}: expected at least one cost')
        self.costs = [TASK_UTILS.build(cost) if isinstance(cost, dict) else cost for cost in costs]
        self.constrain_sizes = constrain_sizes

    @torch.no_grad()
    def __call__(
        self, outputs: Mapping, shapes: Sequence[tuple[int, int]], targets: Mapping, valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Assign people to queries in a batch.

        Args:
            outputs: `confidences`, logits (N, Q, 1), and `joints`
                (N, Q, K, 2), x and y in pixels of the output map.
            shapes: Height and width of each query map, the finest first. A pixel of the finest map
                is two pixels of the output wide.
            targets: `joints` (N, M, K, 3), x, y, and 1 for joints that count; rows without such a
                joint are padding. `areas` and `sizes` (N, M), in (square) pixels of the output.
            valid: (N, Q), whether a query can be assigned to a person.

        Returns:
            Indices of images, queries and people, each (P,), sorted by image and query.

        Raises:
            ValueError: If `shapes` and `outputs` have different numbers of queries.
        """
        queries = outputs['joints'].shape[1]
        if sum(map(prod, shapes)) != queries:
            raise ValueError(
                f'shapes are {[tuple(shape) for shape in shapes]}: expected '
                f'maps of {queries} queries in total, as in the outputs'
            )
        labelled = (targets['joints'][..., 2] > 0).any(-1)
        order = torch.arange(1, labelled.shape[1] + 1, device=labelled.device)
        people = int((labelled * order).max()) if labelled.numel() else 0
        targets = {key: targets[key][:, :people] for key in ('joints', 'areas', 'sizes')}
        assigned = [np.empty((3, 0), np.int64)]
        if people:
            costs = self._compute(outputs, targets)
            forbidden = ~(labelled[:, :people, None] & valid[:, None].bool())
            if self.constrain_sizes:
                forbidden |= _too_large(targets['sizes'], shapes)
            costs.masked_fill_(forbidden, torch.inf)
            best = costs.topk(min(people, queries), largest=False)
            values, indices = (
                torch.stack((best.values.double(), best.indices.double())).cpu().numpy()
            )
            assigned += [
                _assign(image, *best_of_image)
                for image, best_of_image in enumerate(zip(values, indices.astype(np.int64)))
            ]
        result = torch.from_numpy(np.concatenate(assigned, axis=1))
        return tuple(result.to(labelled.device))

    def _compute(self, outputs: Mapping, targets: Mapping) -> Tensor:
        """Return the sum of the costs (N, M, Q), infinity where it is not finite."""
        shape = (len(targets['areas']), targets['areas'].shape[1], outputs['joints'].shape[1])
        total = sum(cost(outputs, targets) for cost in self.costs)
        return total.expand(shape).nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=torch.inf)


def _too_large(sizes: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
    """Return whether people (N, M) are too large for queries, (N, M, Q)."""
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
        image: Index of the image.
        costs: (M, P), costs of the best queries of each person, in ascending order.
        queries: (M, P), indices of these queries.

    Returns:
        (3, n), indices of the image, queries and people, sorted by query.
    """
    (people,) = np.nonzero(np.isfinite(costs).any(1))
    count = len(people)
    if not count:
        return np.empty((3, 0), np.int64)
    costs, queries = costs[people, :count], queries[people, :count]
    finite = np.isfinite(costs)
    # A cost that is higher than that of any assignment without forbidden pairs.
    forbidden = 1 + 2 * count * np.abs(costs[finite]).max()
    columns, where = np.unique(queries, return_inverse=True)
    matrix = np.full((count, len(columns)), forbidden)
    np.put_along_axis(
        matrix, where.reshape(queries.shape), np.where(finite, costs, forbidden), axis=1
    )
    rows, picked = linear_sum_assignment(matrix)
    valid = matrix[rows, picked] < forbidden
    assigned = np.stack((np.full(valid.sum(), image), columns[picked[valid]], people[rows[valid]]))
    return assigned[:, assigned[1].argsort()]
