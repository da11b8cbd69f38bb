"""Small runs that draw random numbers wherever a run can."""

import random

import numpy as np
import torch
from mmengine.registry import DATASETS, METRICS, MODELS
from torch.nn.functional import dropout
from toy_runs import ToyData, ToyMetric, ToyModel


@DATASETS.register_module(force=True)
class NoisyData(ToyData):
    """Ten vectors, changed by numbers of all three global generators."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict:
        sample = super().__getitem__(index)
        sample['inputs'] = (
            sample['inputs'] + random.random() + random.gauss(0, 1)
            + np.random.rand() + np.random.randn() + torch.rand(3))
        return sample


@MODELS.register_module(force=True)
class NoisyModel(ToyModel):
    """With dropout, and numbers of the other two generators."""

    def forward(self, inputs, data_samples, mode: str):
        """The loss, or a prediction for each vector."""
        if self.training:
            inputs = dropout(inputs, 0.3)
        # In the evaluation too: it must not change the training.
        inputs = inputs + random.gauss(0, 1) + np.random.randn()
        inputs = inputs + torch.rand(1)
        return super().forward(inputs, data_samples, mode)


@METRICS.register_module(force=True)
class NoisyMetric(ToyMetric):
    """The sum alone, which depends on nothing but the predictions."""

    def compute_metrics(self, results: list) -> dict:
        """The sum of the predictions."""
        return dict(sum=sum(results))
