"""Detect NaN or infinite predictions in an evaluation: metrics may count them as correct."""

from collections.abc import Sequence
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from ..errors import TrainingError
from ..structures.finite import non_finite_field

#: what MMEngine measures in every validation
_TIMES = ('val/time', 'val/data_time')


class FinitePredictionsHook(Hook):
    """Raise an error at a prediction with a NaN or infinite number, or skip the metrics.

    `PoseRunner` registers this hook. OKS and PCK compare distances with a threshold, and with NaN
    the comparison may count as a match.

    Args:
        action: For validations during training. `'stop'`: raise a `TrainingError`. `'skip'`: log a
            warning, compute no metrics in this validation, and continue the training. Other
            validations and tests raise the error.
    """

    priority = 'HIGHEST'  # removes old metrics before other hooks use them

    def __init__(self, action: str = 'stop') -> None:
        self.action = action
        self._evaluator: Evaluator | None = None  # of the runner, while it is replaced

    def before_train(self, runner: Runner) -> None:
        """Let validations of the training skip their metrics."""
        if self.action == 'skip' and runner.val_loop is not None:
            self._evaluator = runner.val_loop.evaluator
            runner.val_loop.evaluator = SkippingEvaluator(self._evaluator)

    def after_train(self, runner: Runner) -> None:
        """Restore the evaluator."""
        if self._evaluator is not None:
            runner.val_loop.evaluator, self._evaluator = self._evaluator, None

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: Sequence | dict | None = None,
        mode: str = 'train',
    ) -> None:
        """Check the predictions of a batch of a validation or a test."""
        if mode == 'test' or (mode == 'val' and self._evaluator is None):
            check_predictions(outputs or ())

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Prevent that metrics of an earlier validation are logged again if there are none."""
        scalars = runner.message_hub.log_scalars
        if not metrics:
            for name in [name for name in scalars if name.startswith('val/')]:
                if name not in _TIMES:
                    del scalars[name]


class SkippingEvaluator(Evaluator):
    """Evaluator that returns no metrics if a prediction is not finite.

    Args:
        evaluator: The evaluator that computes the metrics.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator.metrics)
        self._dataset_meta = evaluator.dataset_meta
        self._evaluator = evaluator
        self._problem: str | None = None  # of this process, in the current evaluation

    def process(self, data_samples: Sequence, data_batch: Any = None) -> None:
        """Give a batch to the metrics, unless it or an earlier one is not finite."""
        if self._problem is None:
            try:
                check_predictions(data_samples)
            except TrainingError as error:
                self._problem = str(error)
            else:
                self._evaluator.process(data_samples, data_batch)

    def evaluate(self, size: int) -> dict:
        """Compute the metrics, unless a prediction of any process is not finite.

        Args:
            size: Number of samples in the dataset.

        Returns:
            Metric → value.
        """
        problems = list(filter(None, all_gather_object(self._problem)))
        self._problem = None
        if not problems:
            return self._evaluator.evaluate(size)
        for metric in self.metrics:
            metric.results.clear()
        MMLogger.get_current_instance().warning(
            f'{problems[0]}. This validation has no metrics (non_finite=skip).'
        )
        return {}


def check_predictions(samples: Sequence) -> None:
    """Check that the predictions of samples are finite.

    Args:
        samples: `PoseDataSample`s with `pred_instances`. Samples of other types are not checked.

    Raises:
        TrainingError: If a number is NaN or infinite. The message names the image.
    """
    for sample in samples:
        name = non_finite_field(getattr(sample, 'pred_instances', None))
        if name is not None:
            raise TrainingError(
                f'the model predicts {name} that are NaN or infinite for the image '
                f'{sample.get("img_path") or sample.get("img_id")}: check its weights, and '
                'mixed precision if it is used (--amp); if the model is being trained, start again '
                'with a lower learning rate (optim_wrapper.optimizer.lr), or continue without the '
                'metrics of this validation (--resume --non-finite skip)'
            )
