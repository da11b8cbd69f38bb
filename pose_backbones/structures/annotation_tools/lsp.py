"""Read `joints.mat` of Leeds Sports Pose (LSP) and Leeds Sports Pose Extended (LSPET).

Source: Johnson and Everingham, "Clustered pose and nonlinear appearance models for human pose
estimation", BMVC 2010, and "Learning effective human pose estimation from inaccurate annotation",
CVPR 2011.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from ...errors import DatasetError, first_line
from ...utils.files import check_regular_file
from .labelled import (
    MISSING,
    OCCLUDED,
    VISIBLE,
    LabelledDataset,
    LabelledImage,
    LabelledObject,
    Point,
    finite,
    replace_names,
)

#: joints in the order of both files
JOINTS = (
    'right_ankle',
    'right_knee',
    'right_hip',
    'left_hip',
    'left_knee',
    'left_ankle',
    'right_wrist',
    'right_elbow',
    'right_shoulder',
    'left_shoulder',
    'left_elbow',
    'left_wrist',
    'neck',
    'head_top',
)
_LIMBS = (
    *((0, 1), (1, 2), (2, 3), (3, 4), (4, 5)),
    *((6, 7), (7, 8), (9, 10), (10, 11), (8, 12), (9, 12), (12, 13)),
)
_LSP_TRAIN = 1000  # images for training in LSP, which precede those for the test


def read_lsp(path: Path, images: Path | None, given: Sequence[str] | None) -> LabelledDataset:
    """Read `joints.mat` of LSP or LSPET, which differ in the shape of the array.

    In LSPET, (14, 3, N), a joint is labelled as visible or not labelled; there is no split. In LSP,
    (3, 14, N), all joints are labelled, as visible or occluded; the first 1000 images are for
    training, the others for validation. Coordinates are those of the file.

    Args:
        path: The file.
        images: Folder of the images `im00001.jpg` (LSPET) or `im0001.jpg` (LSP); None: that of the
            file, or its folder `images`.
        given: Names of the 14 joints that replace those of the package.

    Raises:
        DatasetError: If the file is not valid, or an image does not exist.
    """
    names = replace_names(JOINTS, given, str(path))
    joints, is_extended = _read(path)
    folders = [images] if images is not None else [path.parent / 'images', path.parent]
    folder = next((folder for folder in folders if any(folder.glob('im*'))), folders[0])
    dataset = LabelledDataset(names, [], list(_LIMBS), ['person'])
    for number, points in enumerate(joints, 1):
        where = f'{path}, image {number}'
        labelled = [_point(values, where, is_extended) for values in points.tolist()]
        digits = 5 if is_extended else 4
        image = LabelledImage(
            [LabelledObject(labelled, where, 'person')],
            where,
            _image(folder, f'im{number:0{digits}}', where),
        )
        if not is_extended:
            image.split = 'train' if number <= _LSP_TRAIN else 'val'
        dataset.images.append(image)
    return dataset


def _read(path: Path) -> tuple[np.ndarray, bool]:
    """Return x, y and the flag of each joint, (N, 14, 3), and whether the file is of LSPET."""
    check_regular_file(path, 'labels')
    try:
        joints = loadmat(path)['joints']
    except Exception as error:  # scipy raises exceptions of many types
        raise DatasetError(
            f'{path} has no array joints of MATLAB ({first_line(error)}): expected joints.mat of '
            'LSP or LSPET'
        ) from error
    shape = np.shape(joints)
    if len(shape) != 3 or sorted(shape[:2]) != [3, len(JOINTS)] or joints.dtype.kind not in 'iuf':
        raise DatasetError(
            f'{path}: joints is an array {shape} of {joints.dtype}: expected (14, 3, N) numbers of '
            'LSPET, or (3, 14, N) of LSP'
        )
    is_extended = shape[0] == len(JOINTS)
    return joints.transpose((2, 0, 1) if is_extended else (2, 1, 0)), is_extended


def _point(values: Sequence[float], where: str, is_extended: bool) -> Point:
    """Return a joint with COCO's visibility."""
    flag = finite(values[2], where, 'a value of joints')
    if flag not in (0, 1):
        raise DatasetError(f'{where}: the third value of a joint is {flag:g}: expected 0 or 1')
    if is_extended and not flag:
        return MISSING  # whatever its coordinates are
    x, y = (finite(value, where, 'a value of joints') for value in values[:2])
    return x, y, OCCLUDED if flag and not is_extended else VISIBLE


def _image(folder: Path, stem: str, where: str) -> Path:
    """Return the file of an image; high-resolution versions of the datasets are PNG files."""
    for suffix in ('.jpg', '.png'):
        if (folder / f'{stem}{suffix}').is_file():
            return folder / f'{stem}{suffix}'
    raise DatasetError(
        f'{where}: the image {stem}.jpg does not exist in {folder}: expected its file there, or '
        'its folder with --images'
    )
