"""Evaluate image after image, with the results in the order of the dataset.

In validation and testing, `PoseRunner` uses `ImageOrderedSampler` instead of `DefaultSampler`, so
that an image is decoded once for all its boxes. In several processes, or if the boxes of an image
do not follow each other in the file, the samples are then loaded in a different order.
`OrderedEvaluator` gives the metrics their results in the original order.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from typing import Any

from mmengine.dataset import DefaultSampler
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.runner import TestLoop, ValLoop
from mmengine.runner.base_loop import BaseLoop

from ..datasets.image_ordered_sampler import ImageOrderedSampler
from ..datasets.transforms.mmpose_transforms import TopdownAffine
from ..errors import ConfigError

_AFFINE = ('TopdownAffine', 'mmpose.TopdownAffine')
#: packages whose metrics store one result per sample
_PACKAGES = ('mmengine', 'mmpose', 'pose_backbones')
#: methods of hooks that see batches
_METHODS = tuple(
    f'{when}_{mode}iter' for when in ('before', 'after') for mode in ('val_', 'test_')
) + ('_before_iter', '_after_iter')


def share_images(dataloader: Any, cache_mb: float) -> Any:
    """Replace `DefaultSampler` in the config of an evaluation by `ImageOrderedSampler`.

    MMPose's `TopdownAffine` is replaced by the transform of this package with the same results.

    Args:
        dataloader: `val_dataloader` or `test_dataloader` of a config. Data loaders that are already
            built, shuffled, or have another sampler or a batch sampler, are not changed.
        cache_mb: Limit on the memory of decoded images per process, in MiB; 0 changes nothing.

    Returns:
        The config of the data loader.

    Raises:
        ConfigError: If the limit is not a number of MiB.
    """
    if isinstance(cache_mb, bool) or not isinstance(cache_mb, (int, float)) or not cache_mb >= 0:
        raise ConfigError(
            f'eval_cache_mb={cache_mb!r}: expected a number of MiB, or 0 to decode the image of '
            'each sample'
        )
    if not cache_mb or not isinstance(dataloader, dict) or dataloader.get('batch_sampler'):
        return dataloader
    sampler = dataloader.get('sampler')
    if not isinstance(sampler, Mapping) or sampler.get('shuffle', True) is not False:
        return dataloader
    kind = sampler.get('type')
    if kind is not DefaultSampler and kind not in ('DefaultSampler', 'mmengine.DefaultSampler'):
        return dataloader
    return dict(
        dataloader,
        sampler=dict(sampler, type=ImageOrderedSampler, cache_mb=cache_mb),
        dataset=_with_fast_crops(dataloader['dataset']),
    )


def _with_fast_crops(dataset: Any) -> Any:
    """Replace MMPose's `TopdownAffine` in the config of a dataset, or of several datasets."""
    if not isinstance(dataset, dict):
        return dataset
    dataset = dict(dataset)
    if 'pipeline' in dataset:
        dataset['pipeline'] = [
            dict(step, type=TopdownAffine)
            if isinstance(step, dict) and step.get('type') in _AFFINE
            else step
            for step in dataset['pipeline']
        ]
    if 'datasets' in dataset:
        dataset['datasets'] = [_with_fast_crops(part) for part in dataset['datasets']]
    return dataset


def group_by_image(loop: BaseLoop, hooks: Iterable[Hook]) -> None:
    """Let a loop evaluate image after image, if the results can be restored to their order.

    Otherwise, the samples keep their order, for example with hooks that draw samples, with metrics
    and loops of other packages, and with MMPose's `MultiDatasetEvaluator`.

    Args:
        loop: A validation or test loop; changed in place.
        hooks: Hooks of the runner.
    """
    sampler = getattr(loop.dataloader, 'sampler', None)
    if (
        type(loop) not in (ValLoop, TestLoop)
        or not isinstance(sampler, ImageOrderedSampler)
        or loop.dataloader.drop_last
        or type(loop.evaluator) is not Evaluator
        or not all(map(_has_result_per_sample, loop.evaluator.metrics))
        or any(map(_sees_batches, hooks))
    ):
        return
    sampler.group = True
    loop.evaluator = OrderedEvaluator(loop.evaluator, sampler)


def _has_result_per_sample(metric: BaseMetric) -> bool:
    package = type(metric).process.__module__.partition('.')[0]
    return type(metric).evaluate is BaseMetric.evaluate and package in _PACKAGES


def _sees_batches(hook: Hook) -> bool:
    """Return whether the effect of a hook depends on the order of the samples."""
    kind = type(hook)
    if all(getattr(kind, name) is getattr(Hook, name) for name in _METHODS):
        return False
    package = kind.__module__.partition('.')[0]
    # Hooks that draw samples have this attribute.
    return getattr(hook, 'enable', package not in ('mmengine', 'pose_backbones'))


class OrderedEvaluator(Evaluator):
    """Evaluator whose metrics get the results in the order of `DefaultSampler`.

    Args:
        evaluator: The evaluator to replace; its metrics are used.
        sampler: The sampler of the data loader.
    """

    def __init__(self, evaluator: Evaluator, sampler: ImageOrderedSampler) -> None:
        super().__init__(evaluator.metrics)
        self._dataset_meta = evaluator.dataset_meta
        self._sampler = sampler

    def evaluate(self, size: int) -> dict:
        """Compute the metrics after all batches are processed.

        Args:
            size: Number of samples in the dataset.

        Returns:
            Metric → value.
        """
        positions = self._sampler.positions.tolist()
        for metric in self.metrics:
            metric.results = list(zip(positions, metric.results, strict=True))
        with ExitStack() as stack:
            for metric in self.metrics:
                stack.enter_context(_sorted_results(metric, size))
            # Samples that were repeated for other processes are removed after sorting.
            return super().evaluate(self._sampler.total_size)


@contextmanager
def _sorted_results(metric: BaseMetric, size: int) -> Iterator[None]:
    """Let a metric compute its value from the results without positions, sorted by them.

    Args:
        metric: A metric whose results are pairs of a position and a result.
        size: Number of results.
    """
    compute = metric.compute_metrics
    is_attribute = 'compute_metrics' in vars(metric)
    metric.compute_metrics = lambda results: compute(
        [result for _, result in sorted(results, key=itemgetter(0))[:size]]
    )
    try:
        yield
    finally:
        if is_attribute:
            metric.compute_metrics = compute
        else:
            del metric.compute_metrics
