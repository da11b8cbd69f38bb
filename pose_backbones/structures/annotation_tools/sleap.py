"""Read SLEAP's labels (`.slp`) and analysis files (`.h5`), with sleap-io."""

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...errors import DatasetError, first_line
from ...utils.files import check_regular_file
from .extra import import_package
from .labelled import (
    MISSING,
    VISIBLE,
    LabelledDataset,
    LabelledImage,
    LabelledObject,
    find_image,
    replace_names,
    split_name,
)


def read_sleap(path: Path, images: Path | None, given: Sequence[str] | None) -> LabelledDataset:
    """Read labels or an analysis file of SLEAP.

    A node with coordinates that is not marked as invisible is visible; others are not labelled. Of
    a `.slp` file, the instances that a user has labelled are read; of an analysis file, all.

    Args:
        path: The `.slp` file, with or without images (`.pkg.slp`), or `.h5` file. Its name may
            contain the split, as in `mice.val.slp` or `val.pkg.slp`.
        images: Folder of the videos or images of the file; None: the paths in the file, or the
            folder of the file.
        given: Names of the keypoints; None: those of the skeleton.

    Raises:
        DatasetError: If the file is not valid. The message contains file, video and frame.
        ConfigError: If sleap-io is missing.
    """
    package = import_package('sleap_io', path)
    check_regular_file(path, 'labels')
    try:
        load = package.load_analysis_h5 if path.suffix == '.h5' else package.load_slp
        labels: Any = load(str(path))
    except Exception as error:  # HDF5 and sleap-io raise errors of many types
        raise DatasetError(f'cannot read the labels {path}: {first_line(error)}') from error
    if len(labels.skeletons) != 1:
        raise DatasetError(f'{path} has {len(labels.skeletons)} skeletons: expected one')
    skeleton = labels.skeletons[0]
    category = skeleton.name or 'animal'
    dataset = LabelledDataset(
        replace_names(skeleton.node_names, given, str(path)),
        [],
        [(int(a), int(b)) for a, b in skeleton.edge_inds],
        [category],
    )
    predicted = 0
    for frame in labels.labeled_frames:
        instances = frame.instances if path.suffix == '.h5' else frame.user_instances
        if not instances:
            predicted += bool(frame.instances)
            continue
        where = f'{path}, frame {frame.frame_idx} of video {labels.videos.index(frame.video) + 1}'
        image = _image(frame, path, images, where, len(labels.videos))
        image.split = split_name(path.name)
        for instance in instances:
            points = [
                MISSING if np.isnan((x, y)).any() else (float(x), float(y), VISIBLE)
                for x, y in instance.numpy()
            ]
            if any(visibility for _, _, visibility in points):
                image.objects.append(LabelledObject(points, where, category))
        dataset.images.append(image)
    if predicted:
        dataset.notes.append(f'{predicted} frames with predictions only are left out')
    return dataset


def _image(frame: Any, path: Path, images: Path | None, where: str, videos: int) -> LabelledImage:
    """Return the image of a labelled frame, without its objects."""
    video, index = frame.video, int(frame.frame_idx)
    files = video.filename
    if isinstance(files, (list, tuple)):  # a sequence of images
        folders = [images] if images is not None else [Path('/'), path.parent]
        name = str(files[index])
        if images is None and os.path.isfile(name):
            return LabelledImage([], where, Path(name))
        return LabelledImage([], where, find_image(name, folders, where))
    if images is not None or not video.exists():
        folders = [images] if images is not None else [path.parent]
        video.replace_filename(str(find_image(str(files), folders, where)))
    number = f'{index:06d}'
    source = video.source_video.filename if video.source_video is not None else files
    name = re.split(r'[\\/]', source if isinstance(source, str) else str(files))[-1]
    stem = name.lstrip('.').split('.')[0] or 'video'
    return LabelledImage(
        [], where, read=partial(_pixels, video, index, where), name=f'{stem}/{number}'
    )


def _pixels(video: Any, index: int, where: str) -> np.ndarray:
    """Return a frame, (H, W, 3), uint8, BGR."""
    try:
        image = np.asarray(video[index])
    except Exception as error:  # backends of videos raise errors of many types
        raise DatasetError(f'{where}: the frame cannot be read: {first_line(error)}') from error
    if image.ndim == 3 and image.shape[2] == 3:
        return cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.cvtColor(image.reshape(image.shape[:2]), cv2.COLOR_GRAY2BGR)
