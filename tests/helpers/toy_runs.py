"""Train a model with a few weights, in a fraction of a second."""

import copy
import itertools

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch.utils.data import Dataset

from pose_backbones.engine.runner import PoseRunner

#: numbers for experiment names; runs of the same name would share a logger and its file
_NUMBERS = itertools.count()


@DATASETS.register_module(force=True)
class ToyData(Dataset):
    """Twelve vectors and their sums."""

    def __init__(self, metainfo: dict | None = None) -> None:
        self.metainfo = metainfo or dict(dataset_name='toy')

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(index)
        value = torch.rand(3, generator=generator)
        return dict(inputs=value, data_samples=value.sum())


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    """A batch norm followed by a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.norm = torch.nn.BatchNorm1d(3)
        self.linear = torch.nn.Linear(3, 1)
        for weight in self.parameters():
            weight.data.copy_(torch.rand(weight.shape, generator=generator))

    def forward(self, inputs, data_samples, mode: str):
        """Return the loss, or a prediction for each vector."""
        result = self.linear(self.norm(inputs))[:, 0]
        if mode == 'loss':
            return dict(loss=(result - data_samples).square().mean())
        return list(result)


@METRICS.register_module(force=True)
class ToyMetric(BaseMetric):
    """Sum of the predictions, and a score that increases with each evaluation."""

    default_prefix = 'toy'

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.sign = sign

    def process(self, data_batch, data_samples) -> None:
        """Store the predictions."""
        self.results.extend(float(value) for value in data_samples)

    def compute_metrics(self, results: list) -> dict:
        """Return the sum, and a score that increases with each call."""
        self.sign += 1
        return dict(sum=sum(results), growing=self.sign)


def toy_config(work_dir, **changes) -> Config:
    """Return the config of a run of eight iterations with a checkpoint every two iterations.

    Args:
        work_dir: Work directory of the run.
        **changes: Config entries to change, with `__` instead of dots.
    """
    loader = dict(
        batch_size=4,
        num_workers=0,
        collate_fn=dict(type='default_collate'),
        sampler=dict(type='InfiniteSampler', shuffle=True),
        dataset=dict(type='ToyData'),
    )
    cfg = Config(
        dict(
            model=dict(type='ToyModel'),
            work_dir=str(work_dir),
            train_dataloader=loader,
            train_cfg=dict(by_epoch=False, max_iters=8, val_interval=100),
            optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.01)),
            param_scheduler=[dict(type='MultiStepLR', milestones=[3, 6], by_epoch=False)],
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', interval=2, by_epoch=False),
                logger=dict(type='LoggerHook', interval=1),
            ),
            default_scope='mmengine',
            experiment_name=f'toy{next(_NUMBERS)}',
            log_level='WARNING',
            resume=False,
        )
    )
    cfg.merge_from_dict(
        {key.replace('__', '.'): copy.deepcopy(value) for key, value in changes.items()}
    )
    return cfg


def with_validation(interval: int = 2, **metric) -> dict:
    """Return changes for `toy_config` that add validation.

    Args:
        interval: Iterations between validations.
        **metric: Arguments of `ToyMetric`.
    """
    return dict(
        val_dataloader=dict(
            batch_size=4,
            num_workers=0,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dict(type='ToyData'),
        ),
        val_evaluator=dict(type='ToyMetric', **metric),
        val_cfg=dict(),
        train_cfg__val_interval=interval,
    )


def train_toy(work_dir, resume=None, **changes) -> PoseRunner:
    """Train the toy model.

    Args:
        work_dir: Work directory of the run.
        resume: Path of a checkpoint, or True for the newest one in the work directory.
        **changes: See `toy_config`.

    Returns:
        The runner, after training.
    """
    start = dict(
        resume=resume is not None, load_from=None if resume in (None, True) else str(resume)
    )
    runner = PoseRunner.from_cfg(toy_config(work_dir, **start, **changes))
    runner.train()
    return runner
