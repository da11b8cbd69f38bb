"""Stop an evaluation at NaN or infinite predictions, which metrics may count as correct."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..errors import TrainingError
from ..structures.finite import non_finite_field


class FinitePredictionsHook(Hook):
    """Raise an error at the first prediction with a NaN or infinite number.

    `PoseRunner` registers this hook. OKS and PCK compare distances with a threshold, and with NaN
    the comparison may count as a match.
    """

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: Sequence | dict | None = None,
        mode: str = 'train',
    ) -> None:
        """Check the predictions of a batch of a validation or a test."""
        if mode != 'train':
            check_predictions(outputs or ())


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
                'with a lower learning rate (optim_wrapper.optimizer.lr)'
            )
