"""Detect NaN or infinite predictions in an evaluation: metrics may count them as correct."""

from collections.abc import Sequence
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from ..errors import TrainingError
from ..structures.finite import non_finite_field, replace_non_finite


class FinitePredictionsHook(Hook):
    """Raise an error at a prediction with a NaN or infinite number, or count it as wrong.

    `PoseRunner` registers this hook. OKS and PCK compare distances with a threshold, and with NaN
    the comparison may count as a match.

    Args:
        action: For validations during training. `'stop'`: raise a `TrainingError`. `'skip'`: log a
            warning and count the keypoints as wrong. Other validations and tests raise the error.
    """

    priority = 'VERY_HIGH'  # runs before hooks that draw predictions

    def __init__(self, action: str = 'stop') -> None:
        self.action = action
        self._is_training = False

    def before_train(self, runner: Runner) -> None:
        """Remember that the training has started."""
        self._is_training = True

    def after_train(self, runner: Runner) -> None:
        """Remember that the training has ended."""
        self._is_training = False

    def before_val(self, runner: Runner) -> None:
        """Replace the evaluator of a validation during training."""
        self.after_val(runner)  # of a validation that was interrupted
        evaluator = getattr(runner.val_loop, 'evaluator', None)
        if self.action == 'skip' and self._is_training and isinstance(evaluator, Evaluator):
            runner.val_loop.evaluator = FiniteEvaluator(evaluator, runner.iter)

    def after_val(self, runner: Runner) -> None:
        """Restore the evaluator."""
        evaluator = getattr(runner.val_loop, 'evaluator', None)
        if isinstance(evaluator, FiniteEvaluator):
            runner.val_loop.evaluator = evaluator.evaluator

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
            if not self._is_training:
                raise
            raise TrainingError(
                f'{error}; start again with a lower learning rate (optim_wrapper.optimizer.lr), or '
                'continue from the last checkpoint with --resume --non-finite skip, which counts '
                'such predictions as wrong'
            ) from None


class FiniteEvaluator(Evaluator):
    """Evaluator that counts predictions with NaN or infinite numbers as wrong.

    Args:
        evaluator: The evaluator that computes the metrics.
        iteration: Iteration of the training, for the warning.
    """

    def __init__(self, evaluator: Evaluator, iteration: int) -> None:
        super().__init__(evaluator.metrics)
        self._dataset_meta = evaluator.dataset_meta
        self.evaluator = evaluator
        self.iteration = iteration
        self._found: list[str] = []  # in this process

    def process(self, data_samples: Sequence, data_batch: Any = None) -> None:
        """Replace the numbers that are not finite, and give the batch to the metrics."""
        for sample in data_samples:
            name = replace_non_finite(getattr(sample, 'pred_instances', None))
            if name is not None:
                self._found.append(f'{name} of {_image(sample)}')
        self.evaluator.process(data_samples, data_batch)

    def evaluate(self, size: int) -> dict:
        """Compute the metrics, and log how many samples had such predictions.

        Args:
            size: Number of samples in the dataset.

        Returns:
            Metric → value.
        """
        found = [text for texts in all_gather_object(self._found) for text in texts]
        if found:
            MMLogger.get_current_instance().warning(
                f'validation after iteration {self.iteration}: NaN or infinite predictions for '
                f'{len(found)} of {size} samples count as wrong (non_finite=skip): {found[0]}'
                f'{", …" if len(found) > 1 else ""}'
            )
        return self.evaluator.evaluate(size)


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
                f'{_image(sample)}: check its weights, and mixed precision if it is used (--amp)'
            )


def _image(sample: BaseDataElement) -> str:
    return str(sample.get('img_path') or sample.get('img_id'))
