"""Train small models that use random numbers in the data, the model and the evaluation.

usage: noisy_runs.py killed|resume|predictions|non_finite DIR    see `main`
"""

import math
import random
import sys
from itertools import count
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import get_rank
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.structures import BaseDataElement, InstanceData
from torch.nn.functional import dropout

from pose_backbones.errors import TrainingError
from tests.helpers.toy_runs import ToyData, ToyMetric, ToyModel, train_toy, with_validation

NOISY = {'model__type': 'NoisyModel', 'train_dataloader__dataset__type': 'NoisyData'}
#: three iterations per epoch, the last one with two samples
EPOCHS = {
    'train_dataloader__sampler__type': 'DefaultSampler',
    'train_cfg': dict(_delete_=True, by_epoch=True, max_epochs=3, val_interval=100),
    'param_scheduler': [dict(type='MultiStepLR', milestones=[1, 2], by_epoch=True)],
    'default_hooks__checkpoint': dict(type='CheckpointHook', by_epoch=True, interval=1),
}
MID_EPOCH = {
    **EPOCHS,
    'default_hooks__checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=1),
}
WORKERS = {'train_dataloader__num_workers': 2}
PERSISTENT = {**WORKERS, 'train_dataloader__persistent_workers': True}
EMA = {'custom_hooks': [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.1)]}
ACCUMULATE = {
    'optim_wrapper__accumulative_counts': 3,
    'optim_wrapper__clip_grad': dict(max_norm=1.0),
}
GROUPED = {
    'train_dataloader__dataset__type': 'NoisyPeople',
    'train_dataloader__sampler__type': 'pose_backbones.ImageGroupedSampler',
}
SEED = {'randomness': dict(seed=5)}
VALIDATE = {
    **with_validation(2),
    'val_evaluator__type': 'NoisyMetric',
    'val_dataloader__dataset__type': 'NoisyData',
}
#: the schedule depends on the evaluation
PLATEAU = {
    **VALIDATE,
    'param_scheduler': [
        dict(type='ReduceOnPlateauLR', monitor='toy/sum', rule='less', patience=0, factor=0.5)
    ],
}

#: batches of samples 0 to 3, 4 to 7, 8 to 11, repeatedly
NAMED = {
    'model__type': 'NamedModel',
    'train_dataloader__collate_fn__type': 'pseudo_collate',
    'train_dataloader__dataset__type': 'NamedData',
    'train_dataloader__sampler': dict(_delete_=True, type='DefaultSampler', shuffle=False),
    'default_hooks__checkpoint__interval': 1,
    'optim_wrapper__optimizer': dict(type='AdamW', lr=0.01, weight_decay=0.5),
}
#: validations after two, four, six and eight iterations; see `PosePredictor`
NAN_PREDICTIONS = {
    **NAMED,
    **with_validation(2),
    'model__type': 'PosePredictor',
    'val_evaluator__type': 'PoseMetric',
    'val_dataloader__dataset__type': 'NamedData',
    'val_dataloader__collate_fn__type': 'pseudo_collate',
    'default_hooks__checkpoint__save_best': 'toy/growing',
    'default_hooks__checkpoint__rule': 'greater',
}
_runs = count()


@DATASETS.register_module(force=True)
class NoisyData(ToyData):
    """Ten vectors to which random numbers of all three global generators are added."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict:
        sample = super().__getitem__(index)
        sample['inputs'] = (
            sample['inputs']
            + random.random()
            + random.gauss(0, 1)
            + np.random.rand()
            + np.random.randn()
            + torch.rand(3)
        )
        return sample


@DATASETS.register_module(force=True)
class NoisyPeople(BaseDataset):
    """The samples of `NoisyData`, as people in four images."""

    METAINFO = dict(dataset_name='people')

    def load_data_list(self) -> list[dict]:
        """Return the paths of the images."""
        return [dict(img_path=f'{image}.jpg') for image in (0, 0, 1, 2, 2, 2, 2, 3, 3, 3)]

    def prepare_data(self, idx: int) -> dict:
        """Return the sample of `NoisyData`."""
        return NoisyData()[idx]


@MODELS.register_module(force=True)
class NoisyModel(ToyModel):
    """The toy model with dropout and random numbers of all three global generators."""

    def forward(self, inputs, data_samples, mode: str):
        """Return the loss, or a prediction for each vector."""
        if self.training:
            inputs = dropout(inputs, 0.3)
        # Random numbers are also used in the evaluation, which must not affect training.
        inputs = inputs + random.gauss(0, 1) + np.random.randn()
        inputs = inputs + torch.rand(1)
        return super().forward(inputs, data_samples, mode)


@METRICS.register_module(force=True)
class NoisyMetric(ToyMetric):
    """Sum of the predictions, without the score that increases with each evaluation."""

    def compute_metrics(self, results: list) -> dict:
        """Return the sum of the predictions."""
        return dict(sum=sum(results))


@DATASETS.register_module(force=True)
class NamedData(ToyData):
    """Vectors with names, in order.

    Args:
        targets: Index → target, for samples whose target is not their sum.
        inputs: Index → number that is added to the input.
    """

    def __init__(self, targets: dict | None = None, inputs: dict | None = None) -> None:
        super().__init__()
        self.targets, self.inputs = targets or {}, inputs or {}

    def __getitem__(self, index: int) -> dict:
        sample = super().__getitem__(index)
        target = self.targets.get(index, float(sample['data_samples']))
        return dict(
            inputs=sample['inputs'] + self.inputs.get(index, 0.0),
            data_samples=BaseDataElement(
                metainfo=dict(img_id=100 + index, img_path=f'images/{index}.jpg'),
                target=torch.tensor(float(target)),
            ),
        )


@MODELS.register_module(force=True)
class NamedModel(ToyModel):
    """The toy model on `NamedData`."""

    def forward(self, inputs, data_samples, mode: str):
        """Return the loss, or a prediction for each vector."""
        targets = torch.stack([sample.target for sample in data_samples])
        return super().forward(torch.stack(inputs), targets, mode)


@MODELS.register_module(force=True)
class SteepModel(ToyModel):
    """A model with a finite loss whose gradient norm is infinite."""

    def forward(self, inputs, data_samples, mode: str):
        """Return the loss, or a prediction for each vector."""
        if mode != 'loss':
            return super().forward(inputs, data_samples, mode)
        return dict(loss=(self.linear(inputs) * 1e30).mean())


@MODELS.register_module(force=True)
class PosePredictor(NamedModel):
    """The toy model, which predicts NaN for sample 5 after four iterations."""

    def forward(self, inputs, data_samples, mode: str):
        """Return the loss, or a sample with a keypoint for each vector."""
        result = super().forward(inputs, data_samples, mode)
        if mode == 'loss':
            return result
        for sample, value in zip(data_samples, result, strict=True):
            failed = sample.img_id == 105 and self.norm.num_batches_tracked == 4
            keypoints = torch.full((1, 1, 2), math.nan if failed else float(value))
            sample.pred_instances = InstanceData(keypoints=keypoints)
        return data_samples


@METRICS.register_module(force=True)
class PoseMetric(ToyMetric):
    """`ToyMetric` of the predictions of `PosePredictor`, which must be finite."""

    def process(self, data_batch, data_samples) -> None:
        """Store the predictions."""
        for sample in data_samples:
            self.results.append(float(sample['pred_instances']['keypoints'].sum()))

    def compute_metrics(self, results: list) -> dict:
        """Return the metrics of `ToyMetric`."""
        assert np.isfinite(results).all()
        return super().compute_metrics(results)


def train_noisy(work: Path, resume=None, **options):
    """Train a noisy run, see `train_toy`."""
    # MMEngine shares loggers between runs of the same name.
    name = f'noisy{next(_runs)}'
    runner = train_toy(
        work,
        resume,
        experiment_name=name,
        visualizer=dict(type='Visualizer', name=name, vis_backends=[dict(type='LocalVisBackend')]),
        **{**NOISY, **options},
    )
    runner.train_dataloader._iterator = None  # stops persistent workers
    return runner


def main(case: str, folder: Path) -> None:
    """Run a case of the tests, in this process or in each of two processes."""
    torch.set_num_threads(1)
    if case == 'killed':
        train_noisy(folder, **WORKERS, **ACCUMULATE, train_cfg__max_iters=24)
        return
    distributed = dict(launcher='pytorch', train_dataloader__batch_size=2)
    if case == 'resume':
        options = {
            **distributed,
            **MID_EPOCH,
            **ACCUMULATE,
            **WORKERS,
            'train_dataloader__drop_last': True,
            'randomness': dict(seed=5, diff_rank_seed=True),
            # averages the statistics of both processes at the end
            'custom_hooks': [dict(type='SyncBuffersHook'), *EMA['custom_hooks']],
        }
        train_noisy(folder / 'uninterrupted', **options)
        for stop in (1, 4):
            train_noisy(folder / f'{stop}', folder / f'uninterrupted/iter_{stop}.pth', **options)
        return
    if case == 'predictions':
        # The second process predicts NaN for sample 5.
        options = {**NAN_PREDICTIONS, **distributed}
        train_noisy(folder, **options, non_finite='skip', val_dataloader__batch_size=1)
        return
    # The second process uses sample 5 in its second and fifth iteration.
    options = {
        **NAMED,
        **distributed,
        'train_cfg__max_iters': 6,
        'train_dataloader__dataset__targets': {5: math.nan},
    }
    try:
        train_noisy(folder / 'stop', **options)
    except TrainingError as error:
        (folder / f'stop-rank{get_rank()}.txt').write_text(str(error))
    for name, steps in (('skip', 1), ('accumulate', 2)):
        runner = train_noisy(
            folder / name, **options, non_finite='skip', optim_wrapper__accumulative_counts=steps
        )
        torch.save(
            runner.model.module.linear.weight.detach(), folder / f'{name}-rank{get_rank()}.pt'
        )


if __name__ == '__main__':
    main(sys.argv[1], Path(sys.argv[2]))
