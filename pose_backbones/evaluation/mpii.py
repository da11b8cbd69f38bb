"""PCKh, the metric of MPII, and the file of predictions for its test split."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from scipy.io import savemat

from ..registry import METRICS
from ..utils.files import atomic_write

#: row of the table → indices of joints
JOINT_GROUPS = {
    'Head': (9,),
    'Shoulder': (12, 13),
    'Elbow': (11, 14),
    'Wrist': (10, 15),
    'Hip': (2, 3),
    'Knee': (1, 4),
    'Ankle': (0, 5),
}
NUM_JOINTS = 16
#: pelvis and thorax, which are not part of the mean
NOT_COUNTED = (6, 7)
#: the strict threshold that is reported in addition
STRICT = 0.1


def joint_rates(
    distances: np.ndarray, labelled: np.ndarray, thr: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the percentage of correct keypoints (PCK) of each joint.

    Args:
        distances: (N, K), distances between prediction and ground truth, in head sizes.
        labelled: (N, K) bool, joints that are evaluated.
        thr: Maximum distance of a correct joint.

    Returns:
        (K,) percentages, NaN for a joint without labels, and (K,) numbers of labels.
    """
    counts = labelled.sum(axis=0)
    correct = ((distances <= thr) & labelled).sum(axis=0)
    rates = np.full(len(counts), np.nan)
    np.divide(100.0 * correct, counts, out=rates, where=counts > 0)
    return rates, counts


def mean_rate(rates: np.ndarray, counts: np.ndarray) -> float:
    """Average the percentages over all joints except pelvis and thorax, weighted by labels.

    Args:
        rates: (16,), from `joint_rates`.
        counts: (16,), from `joint_rates`.

    Returns:
        The mean percentage, NaN if no joint is labelled.
    """
    counts = counts.copy()
    counts[list(NOT_COUNTED)] = 0
    labelled = counts > 0
    if not labelled.any():
        return float('nan')
    return float(np.average(rates[labelled], weights=counts[labelled]))


def pckh_table(distances: np.ndarray, labelled: np.ndarray, thr: float = 0.5) -> dict[str, float]:
    """Compute the table of results that is usual for MPII.

    Args:
        distances: (N, 16), in head sizes.
        labelled: (N, 16) bool.
        thr: Maximum distance of a correct joint.

    Returns:
        Head, Shoulder, Elbow, Wrist, Hip, Knee and Ankle (mean of left and right, if labelled),
        Mean and Mean@0.1, in percent.
    """
    rates, counts = joint_rates(distances, labelled, thr)
    table = {}
    for name, joints in JOINT_GROUPS.items():
        sides = [rates[j] for j in joints if counts[j]]
        table[name] = float(np.mean(sides)) if sides else float('nan')
    table['Mean'] = mean_rate(rates, counts)
    table[f'Mean@{STRICT}'] = mean_rate(*joint_rates(distances, labelled, STRICT))
    return table


@METRICS.register_module()
class MpiiPCKh(BaseMetric):
    """PCKh on MPII: the percentage of joints within half a head size of the ground truth.

    The head size is 0.6 times the diagonal of the head box. Samples are those of
    `pose_backbones.MpiiDataset`, in which pixels count from 0; in the file of predictions they
    count from 1, as in MPII.

    Source: Andriluka et al., CVPR 2014; the tables of HRNet and MSPN.

    Deviations: MMPose's `MpiiPCKAccuracy` adds 1 to predictions because its dataset does not
    subtract 1 from the labels (a model trained on them predicts one pixel too far to the lower
    right). A joint at exactly the threshold is correct, as in MPII's own code. Mean@0.1 uses the
    threshold 0.1; the code of HRNet and MSPN uses 0.11.

    Args:
        thr: Maximum distance of a correct joint, in head sizes.
        format_only: Only write the predictions; needs `outfile`.
        outfile: File of the predictions: a MATLAB file with `preds`, (N, 16, 2), x and y in pixels
            that count from 1, with people in the order of the annotation file. None: no file.
        collect_device: `'cpu'` or `'gpu'`, where the results of all processes are collected.
        prefix: Prefix of the names of the metrics; None: `'PCKh'`.

    Raises:
        ValueError: If `thr` is not positive, `outfile` does not end with `.mat`, or is missing for
            `format_only`.
    """

    default_prefix = 'PCKh'

    def __init__(
        self,
        thr: float = 0.5,
        format_only: bool = False,
        outfile: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if not thr > 0:
            raise ValueError(f'thr={thr}: expected a positive number of head sizes')
        if outfile is not None and not outfile.endswith('.mat'):
            raise ValueError(f'outfile={outfile!r}: expected a name that ends with .mat')
        if format_only and outfile is None:
            raise ValueError('format_only=True needs outfile, the .mat file to write')
        self.thr = thr
        self.format_only = format_only
        self.outfile = outfile

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        """Store the predictions and distances of a batch.

        Args:
            data_batch: Input of the model; not used.
            data_samples: Each with `id`, `pred_instances` (keypoints
                (1, 16, 2) in pixels from 0) and `gt_instances` (the same,
                keypoints_visible (1, 16) and head_size (1, 1)).

        Raises:
            ValueError: If a sample has no head size.
        """
        for sample in data_samples:
            result = dict(
                id=sample['id'],
                predicted=np.asarray(sample['pred_instances']['keypoints'], float)[0],
            )
            if not self.format_only:
                result.update(self._compare(sample, result['predicted']))
            self.results.append(result)

    @staticmethod
    def _compare(sample: dict, predicted: np.ndarray) -> dict:
        truth = sample['gt_instances']
        if 'head_size' not in truth:
            raise ValueError(
                f'person {sample["id"]} has no head_size, which PCKh '
                'needs: use pose_backbones.MpiiDataset with '
                'headbox_file, or annotations with a headbox'
            )
        distances = np.linalg.norm(predicted - np.asarray(truth['keypoints'], float)[0], axis=-1)
        return dict(
            distances=distances / np.asarray(truth['head_size']).item(),
            labelled=np.asarray(truth['keypoints_visible'])[0].reshape(NUM_JOINTS) > 0,
        )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the table and write the predictions.

        Args:
            results: Results of all batches, from `process`.

        Returns:
            The rows of `pckh_table`; empty with `format_only`.
        """
        # Samples may be repeated so that all processes have the same number of them.
        people = [
            person for _, person in sorted({person['id']: person for person in results}.items())
        ]
        if self.outfile is not None:
            points = np.stack([person['predicted'] for person in people])
            with atomic_write(Path(self.outfile)) as draft:
                savemat(draft, dict(preds=points + 1), appendmat=False)
            print_log(
                f'Predictions of {len(people)} people written to {self.outfile}', logger='current'
            )
        if self.format_only:
            return {}
        table = pckh_table(
            np.stack([person['distances'] for person in people]),
            np.stack([person['labelled'] for person in people]),
            self.thr,
        )
        print_log(f'PCKh@{self.thr} of {len(people)} people\n' + _as_text(table), logger='current')
        return table


def _as_text(table: dict[str, float]) -> str:
    """Format a table as two lines: names and values."""
    widths = [max(len(name), 6) for name in table]
    return '\n'.join(
        '| ' + ' | '.join(cells) + ' |'
        for cells in (
            [f'{name:>{w}}' for name, w in zip(table, widths)],
            [f'{v:>{w}.2f}' for v, w in zip(table.values(), widths)],
        )
    )
