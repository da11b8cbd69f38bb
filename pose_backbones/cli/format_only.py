"""Predictions for a test set without public labels: `tools/test.py --format-only`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import METRICS

from ..configs import as_list, find_class
from ..errors import ConfigError, DatasetError
from ..evaluation.mpii import MpiiPCKh
from ..evaluation.submission import NUM_VALUES, check_name, submission_name, write_submission
from ..preflight import check_detection_file
from ..structures.coco import CocoFile, has_fields, one_of
from ..utils.files import check_writable_file


@dataclass(frozen=True)
class CocoSubmission:
    """The file that a test run writes for COCO's evaluation server.

    Args:
        image_list: JSON file with the images of the split.
        folder: Folder of the file.
        name: Name of the method.
    """

    image_list: str
    folder: str
    name: str

    @property
    def prefix(self) -> str:
        """Prefix of the files that the metric writes."""
        return str(Path(self.folder, submission_name(self.image_list, self.name)))

    def check_dataset(self, dataset) -> None:
        """Check that a dataset has as many keypoints as COCO.

        Args:
            dataset: The test set.

        Raises:
            DatasetError: With the number of keypoints.
        """
        count = dataset.metainfo['num_keypoints']
        if count != NUM_VALUES // 3:
            raise DatasetError(
                f'--format-only: the server of COCO takes {NUM_VALUES // 3} '
                f'keypoints, but the dataset has {count}'
            )

    @property
    def _results(self) -> Path:
        """Results that the metric writes."""
        return Path(f'{self.prefix}.keypoints.json')

    def check_writable(self) -> None:
        """Check that the zip file can be written.

        Raises:
            WorkDirError: With the path and the reason.
        """
        check_writable_file(Path(f'{self.prefix}.zip'), '--format-only')

    @contextmanager
    def cleaned_up(self) -> Iterator[None]:
        """Remove the results of the metric on exit, also after an error."""
        try:
            yield
        finally:
            self._results.unlink(missing_ok=True)

    def write(self) -> Path:
        """Write the zip file from the results that the metric has written.

        Returns:
            The zip file.

        Raises:
            DatasetError: If the server would reject the results.
        """
        path, kept, left_out = write_submission(
            str(self._results), self.image_list, self.folder, self.name
        )
        note = f' ({left_out} left out: at most 20 per image are accepted)'
        print_log(
            f'{kept} results written to {path}' + (note if left_out else ''), logger='current'
        )
        return path


def enable_format_only(cfg: Config, name: str | None) -> CocoSubmission | None:
    """Change a config, in place, so that a test writes predictions and evaluates nothing.

    Args:
        cfg: A config with its `work_dir`, where the file is written.
        name: Name of the method, for COCO; None: the name of the config.

    Returns:
        For COCO, the file that is still to be written after the test; None for MPII, whose metric
        writes the file itself.

    Raises:
        ConfigError: If there is no such file for the metric of the config, or the server does not
            accept the name.
    """
    metrics = as_list(cfg.get('test_evaluator'))
    kinds = [find_class(metric, METRICS) for metric in metrics]
    if kinds == [MpiiPCKh]:
        if name is not None:
            raise ConfigError(f'--submission-name {name}: the file of MPII is called pred.mat')
        metrics[0].update(format_only=True, outfile=str(Path(cfg.work_dir, 'pred.mat')))
        # The test split has no head boxes, and nothing is evaluated.
        cfg.test_dataloader.dataset.headbox_file = None
        return None
    if kinds != [CocoMetric]:
        raise ConfigError(
            '--format-only writes files for COCO (CocoMetric) and MPII '
            '(pose_backbones.MpiiPCKh), but the test_evaluator is '
            + (', '.join(str(m['type']) for m in metrics) or 'empty')
        )
    iou_type = metrics[0].get('iou_type', 'keypoints')
    if iou_type != 'keypoints':
        raise ConfigError(
            f'--format-only: test_evaluator.iou_type is {iou_type!r}: the '
            "server of COCO takes 'keypoints' (17 per person)"
        )
    dataset = cfg.test_dataloader.dataset
    image_list = metrics[0].get('ann_file') or str(
        Path(dataset.get('data_root') or '.', dataset.ann_file)
    )
    name = name or Path(cfg.filename).stem
    check_name(name)
    submission = CocoSubmission(image_list, cfg.work_dir, name)
    metrics[0].update(format_only=True, outfile_prefix=submission.prefix)
    return submission


def check_image_list(cfg: Config, submission: CocoSubmission) -> None:
    """Check that the test images belong to the split.

    Args:
        cfg: A config whose test data exists.
        submission: From `enable_format_only`.

    Raises:
        DatasetError: With an image that is not in the list.
    """
    dataset = cfg.test_dataloader.dataset
    annotations = str(Path(dataset.get('data_root') or '.', dataset.ann_file))
    if Path(annotations).resolve() == Path(submission.image_list).resolve():
        return  # the detections have been compared with it
    if dataset.get('bbox_file'):
        boxes = CocoFile(dataset.bbox_file, 'detections')
        check_detection_file(boxes, CocoFile(submission.image_list))
        return
    images, known = CocoFile(annotations), CocoFile(submission.image_list)
    images.check(
        'image',
        images.entries('images'),
        has_fields('id'),
        one_of('id', known.image_ids(), f'expected an image of the image list {known.path}'),
    )
