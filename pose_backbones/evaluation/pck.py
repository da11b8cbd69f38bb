"""PCK with the size of the torso, for data sets without head boxes."""

from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from ..errors import ConfigError
from ..registry import METRICS
from .mpii import joint_rates

#: the diagonals of the torso
TORSO = (('left_shoulder', 'right_hip'), ('right_shoulder', 'left_hip'))


@METRICS.register_module()
class TorsoPCK(BaseMetric):
    """PCK: the percentage of keypoints within a part of the size of the torso.

    The size of a torso is the distance from one shoulder to the opposite hip in the annotation: the
    first pair of `torso` of which both keypoints are labelled. People without such a pair are not
    evaluated; their number is logged.

    Source: Yang and Ramanan, "Articulated human detection with flexible mixtures of parts", TPAMI
    2013, with the size of the torso as in the evaluation of LSP.

    Deviations: MMPose's `JhmdbPCKAccuracy` takes the distance of the keypoints 4 and 5.

    Args:
        thr: Maximum distance of a correct keypoint, in sizes of the torso.
        torso: Pairs of names of keypoints.
        collect_device: `'cpu'` or `'gpu'`, where the results of all processes are collected.
        prefix: Prefix of the names of the metrics; None: `'PCK'`.

    Raises:
        ValueError: If `thr` is not positive, or `torso` is not a list of pairs.
        ConfigError: When the metainfo of the dataset is set, if a keypoint of `torso` is not in it.
    """

    default_prefix = 'PCK'

    def __init__(
        self,
        thr: float = 0.2,
        torso: Sequence[Sequence[str]] = TORSO,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if not thr > 0:
            raise ValueError(f'thr={thr}: expected a positive number of torso sizes')
        if not torso or any(isinstance(pair, str) or len(pair) != 2 for pair in torso):
            raise ValueError(f'torso={torso}: expected pairs of names of keypoints')
        self.thr = thr
        self.torso = [tuple(pair) for pair in torso]

    @property
    def dataset_meta(self) -> dict | None:
        """Metainfo of the dataset, in which the keypoints of `torso` must have a name."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, metainfo: dict) -> None:
        names = self._names_of(metainfo)
        for name in (name for pair in self.torso for name in pair):
            if name not in names:
                raise ConfigError(
                    f'torso={self.torso}: the data has no keypoint {name!r}: expected two of '
                    f'{", ".join(names)}'
                )
        self._dataset_meta = metainfo

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        """Store the distances of a batch.

        Args:
            data_batch: Input of the model; not used.
            data_samples: Each with `id`, `pred_instances` (keypoints (1, K, 2) in pixels) and
                `gt_instances` (the same, and keypoints_visible (1, K)).

        Raises:
            ConfigError: If a sample has several people, as those of bottom-up models.
        """
        for sample in data_samples:
            truth = sample['gt_instances']
            if np.ndim(sample['id']):
                raise ConfigError(
                    f'TorsoPCK is a metric of top-down models, but a sample has the people '
                    f'{sample["id"]}: expected CocoMetric for bottom-up models'
                )
            expected = np.asarray(truth['keypoints'], float)[0]
            predicted = np.asarray(sample['pred_instances']['keypoints'], float)[0]
            labelled = np.asarray(truth['keypoints_visible'])[0].reshape(len(expected)) > 0
            self.results.append(
                dict(
                    id=(sample.get('img_path'), sample['id']),  # merged datasets have equal ids
                    distances=np.linalg.norm(predicted - expected, axis=-1),
                    labelled=labelled,
                    torso=self._torso_size(expected, labelled),
                )
            )

    def _torso_size(self, keypoints: np.ndarray, labelled: np.ndarray) -> float:
        """Return the size of the torso in pixels, NaN if it is not labelled."""
        names = self._names_of(self._dataset_meta)
        for pair in self.torso:
            first, second = (names.index(name) for name in pair)
            size = float(np.linalg.norm(keypoints[first] - keypoints[second]))
            if labelled[first] and labelled[second] and size > 0:
                return size
        return float('nan')

    @staticmethod
    def _names_of(metainfo: dict) -> list[str]:
        """Return the names of the keypoints."""
        ids = metainfo['keypoint_id2name']
        return [ids[number] for number in sorted(ids)]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the percentages.

        Args:
            results: Results of all batches, from `process`.

        Returns:
            `PCK` of all labelled keypoints, `mean` of the percentages of all keypoints, and the
            percentage of each keypoint under its name, NaN without labels.
        """
        # Samples may be repeated so that all processes have the same number of them.
        people = list({person['id']: person for person in results}.values())
        sizes = np.array([person['torso'] for person in people])
        measured = np.isfinite(sizes)
        distances = np.stack([person['distances'] for person in people]) / sizes[:, None]
        labelled = np.stack([person['labelled'] for person in people]) & measured[:, None]
        rates, counts = joint_rates(distances, labelled, self.thr)
        total = counts.sum()
        table = {
            'PCK': float(np.nansum(rates * counts) / total) if total else float('nan'),
            'mean': float(np.mean(rates[counts > 0])) if total else float('nan'),
            **dict(zip(self._names_of(self._dataset_meta), map(float, rates), strict=True)),
        }
        print_log(
            f'PCK@{self.thr} of {measured.sum()} people; {(~measured).sum()} people without a '
            'labelled torso are not evaluated',
            logger='current',
        )
        return table
