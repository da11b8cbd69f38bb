"""MPII from the JSON files of HRNet, with pixel coordinates that count from 0."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from mmpose.datasets.datasets import MpiiDataset as MMPoseMpiiDataset
from mmpose.datasets.datasets.base import BaseCocoStyleDataset
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from ..errors import DatasetError
from ..registry import DATASETS
from ..structures.coco import read_json

NUM_JOINTS = 16
#: size of a box of scale 1, in pixels
SCALE_UNIT = 200
#: offset of the centre of the box below the annotated centre, in pixels for scale 1
DROP = 15
#: head size relative to the diagonal of the head box
HEAD_SHARE = 0.6


@DATASETS.register_module()
class MpiiDataset(BaseCocoStyleDataset):
    """MPII Human Pose: one person per sample, 16 joints, annotated boxes.

    Pixel coordinates count from 1 in the files and from 0 in the samples.

    Source: Andriluka et al., CVPR 2014; the JSON files of HRNet
    (`image`, `center`, `scale`, `joints`, `joints_vis`).

    Deviations: MMPose's `MpiiDataset` subtracts 1 from the centre, but not from the joints. Head
    boxes may also be in the JSON file. The test split, which has no joints, can be loaded in
    `test_mode`; all people are kept, so that predictions are in the order of the file.

    Args:
        ann_file: The JSON file, relative to `data_root`.
        data_root: Folder of the dataset.
        data_prefix: `img`: folder of the images, relative to `data_root`.
        headbox_file: `.mat` file with `headboxes_src` (2, 2, N): corner, x and y, person. None:
            the `headbox` of each person in the JSON file, [x1, y1, x2, y2], if there is one.
        metainfo: Dataset description, by default MMPose's of MPII.
        indices: Number or indices of the people that are used.
        serialize_data: See MMEngine.
        pipeline: The transforms.
        test_mode: Whether the dataset is used for evaluation.
        lazy_init: See MMEngine.
        max_refetch: See MMEngine.

    Raises:
        DatasetError: If the content of a file is invalid, or a person has no joints and
            `test_mode` is False.
    """

    METAINFO = MMPoseMpiiDataset.METAINFO

    def __init__(
        self,
        ann_file: str,
        data_root: str | None = None,
        data_prefix: dict = dict(img=''),  # noqa: B006
        headbox_file: str | None = None,
        metainfo: dict | None = None,
        indices: int | Sequence[int] | None = None,
        serialize_data: bool = True,
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 1000,
    ) -> None:
        self.headbox_file = headbox_file
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=data_prefix,
            metainfo=metainfo,
            indices=indices,
            serialize_data=serialize_data,
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
        )

    def load_data_list(self) -> list[dict]:
        """Read the annotations.

        Returns:
            A dict per person: `id` (index in the file), `img_id`, `img_path`, `bbox` (1, 4) x1, y1,
            x2, y2, `bbox_score` (1,), `keypoints` (1, 16, 2), `keypoints_visible` (1, 16), and
            `head_size` (1, 1), if it is known. Coordinates are in pixels that count from 0. For
            training, people without a box or a labelled joint are skipped.
        """
        people = read_people(self.ann_file, self.headbox_file)
        chosen = range(len(people))
        if self.test_mode:
            unplaced = [n for n in chosen if people[n]['box'] is None]
            if unplaced:
                raise DatasetError(
                    f'{self.ann_file}: person {unplaced[0]} has no position '
                    '(center or scale is -1), so nothing can be predicted'
                )
        else:
            if any(person['joints'] is None for person in people):
                raise DatasetError(
                    f'{self.ann_file}: people have no joints, as in the test split, '
                    'so this file cannot be used for training'
                )
            chosen = [
                n for n in chosen if people[n]['box'] is not None and people[n]['labelled'].any()
            ]
        return [self._sample(n, people[n]) for n in chosen]

    def _sample(self, number: int, person: dict) -> dict:
        joints = person['joints']
        if joints is None:
            joints = np.zeros((NUM_JOINTS, 2))
        sample = {
            'id': number,
            'img_id': int(Path(person['image']).stem),
            'img_path': str(Path(self.data_prefix['img'], person['image'])),
            'bbox': person['box'][None].astype(np.float32),
            'bbox_score': np.ones(1, np.float32),
            'keypoints': joints[None].astype(np.float32),
            'keypoints_visible': person['labelled'][None].astype(np.float32),
        }
        if person['head_size'] is not None:
            sample['head_size'] = np.full((1, 1), person['head_size'])
        return sample


def read_people(path: str, headbox_file: str | None = None) -> list[dict]:
    """Read a JSON file of MPII in the format of HRNet.

    Args:
        path: The file.
        headbox_file: See `MpiiDataset`.

    Returns:
        A dict per person: `image` (file name), `box` (4,) x1, y1, x2, y2 or None if it is unknown,
        and `joints` (16, 2) or None, both in pixels that count from 0; `labelled` (16,) bool; and
        `head_size` in pixels or None.

    Raises:
        DatasetError: If a value is invalid. The message contains the person, the value, and the
            expected value.
    """
    content = read_json(path, 'annotations')
    if (
        not isinstance(content, list)
        or not content
        or not all(isinstance(entry, dict) for entry in content)
    ):
        raise DatasetError(
            f"{path} is not a list of people in HRNet's JSON format: expected "
            "[{'image': …, 'center': [x, y], 'scale': …, 'joints': [16 "
            "times [x, y]], 'joints_vis': [16 times 0 or 1]}, …]"
        )
    people = [
        _read_person(f'{path}, person {number}', entry) for number, entry in enumerate(content)
    ]
    if headbox_file is not None:
        sizes = _read_head_sizes(headbox_file, path, len(people))
        for person, size in zip(people, sizes):
            person['head_size'] = size
    return people


def _read_person(where: str, entry: dict) -> dict:
    image = entry.get('image')
    if not isinstance(image, str) or not Path(image).stem.isdigit():
        raise DatasetError(
            f'{where}: image is {image!r}: expected a file name such as 015601864.jpg'
        )
    center = _numbers(where, 'center', entry.get('center'), (2,))
    scale = _numbers(where, 'scale', entry.get('scale'), ())
    box = None
    if center[0] != -1 and scale > 0:  # -1 means unknown
        center[1] += DROP * scale
        half = scale * SCALE_UNIT / 2
        box = np.concatenate([center - half, center + half]) - 1
    joints, labelled = None, np.zeros(NUM_JOINTS, bool)
    if 'joints' in entry:
        joints = _numbers(where, 'joints', entry['joints'], (NUM_JOINTS, 2)) - 1
        labelled = _numbers(where, 'joints_vis', entry.get('joints_vis'), (NUM_JOINTS,)) > 0
    head = None
    if 'headbox' in entry:
        corners = _numbers(where, 'headbox', entry['headbox'], (4,))
        head = _head_size(where, corners.reshape(2, 2))
    return dict(image=image, box=box, joints=joints, labelled=labelled, head_size=head)


def _numbers(where: str, name: str, value, shape: tuple) -> np.ndarray:
    try:
        array = np.array(value, float)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if array.shape != shape or not np.isfinite(array).all():
        raise DatasetError(
            f'{where}: {name} is {value}: expected '
            + (' x '.join(map(str, shape)) + ' numbers' if shape else 'a number')
        )
    return array


def _head_size(where: str, corners: np.ndarray) -> float:
    """Compute the head size from the corners of a head box: (2, 2), corner, x and y."""
    extent = corners[1] - corners[0]
    if not (extent > 0).all():
        raise DatasetError(
            f'{where}: the head box {corners.ravel().tolist()} is empty: '
            'expected x1, y1, x2, y2 with x1 < x2 and y1 < y2'
        )
    return HEAD_SHARE * float(np.linalg.norm(extent))


def _read_head_sizes(path: str, ann_file: str, count: int) -> list[float]:
    """Read the head size of each person from a MATLAB file."""
    try:
        boxes = np.asarray(loadmat(path)['headboxes_src'], float)
    except (OSError, ValueError, KeyError, TypeError, MatReadError) as error:
        raise DatasetError(
            f'cannot read head boxes: {path} is not a MATLAB file with '
            f'headboxes_src ({type(error).__name__}: {error})'
        ) from error
    if boxes.shape != (2, 2, count):
        raise DatasetError(
            f'the head boxes belong to other people: {path} has headboxes_src '
            f'of shape {boxes.shape}, but {ann_file} has {count} people '
            f'(expected (2, 2, {count})). mpii_gt_val.mat is for '
            'mpii_val.json'
        )
    return [_head_size(f'{path}, person {number}', boxes[..., number]) for number in range(count)]
