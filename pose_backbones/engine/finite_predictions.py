"""Detect NaN or infinite predictions in an evaluation: metrics may count them as correct."""

from collections.abc import Sequence

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..errors import TrainingError
from ..structures.finite import non_finite_field


class FinitePredictionsHook(Hook):
    """Raise an error at a prediction with a NaN or infinite number, or discard the metrics.

    `PoseRunner` registers this hook. OKS and PCK compare distances with a threshold, and with NaN
    the comparison may count as a match.

    Args:
        action: For validations during training. `'stop'`: raise a `TrainingError`. `'skip'`: log a
            warning, remove the metrics of this validation, and continue the training. Other
            validations and tests raise the error.
    """

    priority = 'HIGHEST'  # runs before other hooks use the metrics

    def __init__(self, action: str = 'stop') -> None:
        self.action = action
        self._skips = False  # whether the current evaluation is continued
        self._problem: str | None = None  # of this process, in the current validation

    def before_train(self, runner: Runner) -> None:
        """Prepare for validations of the training."""
        self._skips = self.action == 'skip'

    def after_train(self, runner: Runner) -> None:
        """Prepare for validations after the training."""
        self._skips = False

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: Sequence | dict | None = None,
        mode: str = 'train',
    ) -> None:
        """Check the predictions of a batch of a validation or a test."""
        if mode == 'train':
            return
        try:
            check_predictions(outputs or ())
        except TrainingError as error:
            if mode == 'test' or not self._skips:
                raise
            self._problem = self._problem or str(error)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Remove the metrics if a prediction of a process is not finite."""
        if not self._skips:
            return
        problems = list(filter(None, all_gather_object(self._problem)))
        self._problem = None
        if not problems or metrics is None:
            return
        for name in metrics:  # otherwise, those of the previous validation would be logged again
            runner.message_hub.log_scalars.pop(f'val/{name}', None)
        metrics.clear()
        runner.logger.warning(f'{problems[0]}. This validation has no metrics (non_finite=skip).')


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
