"""Tests of the evaluation image after image."""

from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import ConfigDict
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import BaseMetric, DumpResults, Evaluator
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import TestLoop, ValLoop
from mmpose.engine.hooks import BadCaseAnalysisHook, PoseVisualizationHook
from mmpose.evaluation import CocoMetric, PCKAccuracy
from mmpose.evaluation.evaluators import MultiDatasetEvaluator
from mmpose.evaluation.metrics import KeypointPartitionMetric

from pose_backbones.datasets.image_ordered_sampler import ImageOrderedSampler
from pose_backbones.datasets.transforms.mmpose_transforms import TopdownAffine
from pose_backbones.engine.finite_predictions import FinitePredictionsHook
from pose_backbones.engine.grouped_evaluation import OrderedEvaluator, group_by_image, share_images
from pose_backbones.engine.runner import PoseRunner
from pose_backbones.engine.visualization_hook import IntervalVisualizationHook
from pose_backbones.errors import ConfigError
from pose_backbones.inference.fused_test import FusedTestHook
from tests.helpers.image_samples import People
from tests.helpers.toy_runs import toy_config, train_toy, with_validation

IN_ORDER = dict(type='DefaultSampler', shuffle=False, round_up=False)


def loader_config(**changes) -> ConfigDict:
    return ConfigDict(dict(batch_size=2, sampler=IN_ORDER, dataset=dict(type='X')), **changes)


@pytest.mark.parametrize('kind', ['DefaultSampler', 'mmengine.DefaultSampler', DefaultSampler])
def test_default_sampler_is_replaced(kind):
    config = loader_config(sampler=dict(type=kind, shuffle=False, round_up=False))
    shared = share_images(config, 64)
    assert shared['sampler'] == dict(
        type=ImageOrderedSampler, shuffle=False, round_up=False, cache_mb=64
    )
    assert config.sampler.type is kind  # The config of the user is not changed.


@pytest.mark.parametrize(
    ('changes', 'cache_mb'),
    [
        ({}, 0),
        (dict(batch_sampler=dict(type='MyBatchSampler')), 64),
        (dict(sampler=dict(type='MySampler', shuffle=False)), 64),
        (dict(sampler=dict(type='DefaultSampler', shuffle=True)), 64),
        (dict(sampler=dict(type='DefaultSampler')), 64),
    ],
)
def test_other_samplers_are_kept(changes, cache_mb):
    config = loader_config(**changes)
    assert share_images(config, cache_mb) is config


@pytest.mark.parametrize('value', [-1, '64', None, True, float('nan')])
def test_invalid_limits_raise(value):
    with pytest.raises(ConfigError, match='eval_cache_mb=.*expected a number of MiB, or 0'):
        share_images(loader_config(), value)


def test_crops_are_replaced_in_all_datasets():
    steps = [dict(type='LoadImage'), dict(type='TopdownAffine', input_size=(4, 8))]
    dataset = dict(
        type='CombinedDataset',
        datasets=[dict(type='X', pipeline=steps), dict(type='Y')],
        pipeline=[dict(type='mmpose.TopdownAffine', use_udp=True), dict(type='My.TopdownAffine')],
    )
    shared = share_images(loader_config(dataset=dataset), 64)['dataset']
    fast = dict(type=TopdownAffine, input_size=(4, 8))
    assert shared['datasets'] == [dict(type='X', pipeline=[steps[0], fast]), dict(type='Y')]
    assert shared['pipeline'] == [
        dict(type=TopdownAffine, use_udp=True),
        dict(type='My.TopdownAffine'),
    ]


class Metric(DumpResults):
    """A metric that returns its results."""

    def __init__(self) -> None:
        super().__init__('unused.pkl')

    def compute_metrics(self, results: list) -> dict:
        """Return the results."""
        return dict(results=results)


def make_loop(kind, evaluator=None, drop_last: bool = False):
    """Return a loop over eight samples of three images, which are not grouped by image."""
    loop = object.__new__(kind)
    sampler = ImageOrderedSampler(People([3, 3, 2], order=[0, 3, 6, 1, 4, 7, 2, 5]), seed=0)
    loop._dataloader = loop.dataloader = SimpleNamespace(sampler=sampler, drop_last=drop_last)
    loop.evaluator = Evaluator([Metric(), Metric()]) if evaluator is None else evaluator
    return loop


@pytest.mark.parametrize('kind', [TestLoop, ValLoop])
def test_results_are_in_the_order_of_the_dataset(kind):
    loop = make_loop(kind)
    metrics = loop.evaluator.metrics
    kept = []
    metrics[1].compute_metrics = lambda results: kept.append(results) or {}
    group_by_image(loop, [])
    assert isinstance(loop.evaluator, OrderedEvaluator)
    assert loop.evaluator.metrics == metrics
    for _ in range(2):  # as in the validations of a training run
        loaded = list(loop.dataloader.sampler)
        assert loaded == [0, 3, 6, 1, 4, 7, 2, 5]
        for index in loaded:
            loop.evaluator.process([dict(index=int(index))])
        expected = [dict(index=index) for index in range(8)]
        assert loop.evaluator.evaluate(8) == dict(results=expected)
        assert kept.pop() == expected
        assert not metrics[0].results
    assert 'compute_metrics' not in vars(metrics[0])


class OwnMetric(BaseMetric):
    """A metric of another package."""

    def process(self, data_batch, data_samples) -> None:
        """Store one result per batch."""
        self.results.append(len(data_samples))

    def compute_metrics(self, results: list) -> dict:
        """Return the number of batches."""
        return dict(batches=len(results))


class OwnHook(Hook):
    """A hook of another package that sees the samples."""

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Do nothing."""


class OwnLoop(TestLoop):
    """A loop of another package."""


def bare(kind, **attributes):
    """Return an object without calling its constructor."""
    made = object.__new__(kind)
    made.__dict__.update(attributes)
    return made


@pytest.mark.parametrize(
    'case',
    [
        dict(loop=dict(kind=OwnLoop)),
        dict(loop=dict(drop_last=True)),
        dict(loop=dict(evaluator=Evaluator([Metric(), OwnMetric()]))),
        dict(loop=dict(evaluator=Evaluator([bare(KeypointPartitionMetric)]))),
        dict(loop=dict(evaluator=bare(MultiDatasetEvaluator, metrics=[Metric()]))),
        dict(hooks=[OwnHook()]),
        dict(hooks=[bare(PoseVisualizationHook, enable=True)]),
        dict(hooks=[bare(IntervalVisualizationHook, enable=True)]),
        dict(hooks=[bare(BadCaseAnalysisHook, enable=True)]),
    ],
)
def test_samples_keep_their_order(case):
    """The samples that are drawn, or that code of other packages gets, do not change."""
    loop = make_loop(**{'kind': TestLoop, **case.get('loop', {})})
    evaluator = loop.evaluator
    group_by_image(loop, case.get('hooks', []))
    assert loop.evaluator is evaluator
    assert list(loop.dataloader.sampler) == list(range(8))


def test_common_hooks_and_metrics_allow_grouping():
    loop = make_loop(TestLoop, Evaluator([bare(CocoMetric), bare(PCKAccuracy), Metric()]))
    hooks = [
        FusedTestHook(),
        FinitePredictionsHook(),
        bare(EMAHook),
        bare(IntervalVisualizationHook, enable=False),
        bare(BadCaseAnalysisHook, enable=False),
    ]
    group_by_image(loop, hooks)
    assert loop.dataloader.sampler.group


def test_validation_of_a_dataset_without_images(tmp_path):
    """Validation in training uses the sampler, too, and is not changed."""
    results = []
    for cache_mb in (0, 64):
        runner = train_toy(
            tmp_path / str(cache_mb),
            **with_validation(),
            eval_cache_mb=cache_mb,
            randomness=dict(seed=3),
        )
        sampler = runner.val_dataloader.sampler
        assert isinstance(sampler, ImageOrderedSampler) == (cache_mb > 0)
        results.append(runner.message_hub.get_scalar('val/toy/sum')._log_history)
    np.testing.assert_array_equal(*results)


def test_invalid_limit_of_a_run_raises(tmp_path):
    runner = PoseRunner.from_cfg(toy_config(tmp_path, **with_validation(), eval_cache_mb='1 GB'))
    with pytest.raises(ConfigError, match="eval_cache_mb='1 GB'"):
        runner.train()
