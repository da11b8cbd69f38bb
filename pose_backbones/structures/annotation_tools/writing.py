"""Write a `LabelledDataset` as a COCO keypoint dataset with MMPose's dataset metainfo."""

import json
import os
import random
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from ...errors import ConfigError, DatasetError, WorkDirError, shown
from ...utils.files import check_writable_dir, convert_write_errors, draft_folder, rename_draft
from ...utils.images import image_size, write_image
from ..coco_keypoints import KeypointFile, read_keypoint_file
from ..metainfo import Sigma, default_sigmas, write_metainfo
from ..oks import AREA_OF_BOX
from .labelled import OUTSIDE, LabelledDataset, LabelledImage, LabelledObject

#: how the images get into the output: symbolic links, copies, or absolute paths in the annotations
IMAGE_MODES = ('link', 'copy', 'in-place')
#: default share of the images for validation
VAL_SHARE = 0.2
#: default padding of boxes from keypoints, relative to the longer side
PADDING = 0.1
_LEAST_SIDE = 0.02  # of boxes from keypoints, relative to the longer side of the image
_SEED = 0  # of the choice of the images for validation


@dataclass(frozen=True)
class Conversion:
    """A written dataset.

    Args:
        files: The annotation files that have objects: training, validation and test.
        metainfo: The metainfo file.
        sigmas: Name → sigma of each keypoint.
        pairs: Name → mirrored keypoint; None: recognized by the names.
        notes: What was left out or assumed.
    """

    files: tuple[KeypointFile, ...]
    metainfo: Path
    sigmas: dict[str, Sigma]
    pairs: dict[str, str] | None
    notes: tuple[str, ...]


def write_dataset(
    dataset: LabelledDataset,
    out: str | os.PathLike,
    image_mode: str = 'link',
    val_share: float | None = None,
    padding: float = PADDING,
    name: str | None = None,
) -> Conversion:
    """Write a COCO keypoint dataset: `annotations/*.json`, `images/` and `metainfo.py`.

    A box that the format does not have contains the labelled keypoints of the object. It is
    enlarged on each side by `padding` times its longer side, and to at least 2 % of the longer side
    of the image, and clipped to the image. Other boxes are only clipped. A missing area is 0.53
    times that of the box.

    Args:
        dataset: The images and their instances.
        out: The directory, which must not exist. If an error occurs, it is not created.
        image_mode: One of `IMAGE_MODES`. Frames of videos are always written, as PNG files.
        val_share: Share of the labelled images for validation, if the dataset has no validation
            images; 0: all are for training. The choice is random with a fixed seed. Default: 0.2.
        padding: See above.
        name: Name of the dataset. Default: name of the directory.

    Returns:
        The written files.

    Raises:
        DatasetError: If an instance does not fit its image, or the result has an error that
            `pose-backbones check` finds.
        ConfigError: If an argument is not valid.
        WorkDirError: If `out` exists or cannot be written.
    """
    folder = Path(out)
    check_output(folder, image_mode, val_share, padding)
    splits = _splits(dataset, val_share)
    notes = list(dataset.notes)
    repeated = _files(splits['train']) & _files(splits.get('val', ()))
    if repeated:
        notes.append(
            f'{len(repeated)} images are for training and for validation: results on them do not '
            'tell how the model performs on other images'
        )
    with convert_write_errors(folder, 'OUT'), draft_folder(folder) as draft:
        files = [draft / f'annotations/{split}.json' for split in splits]
        (draft / 'annotations').mkdir()
        (draft / 'images').mkdir()
        writer = _Writer(dataset, draft / 'images', image_mode, padding)
        for file, images in zip(files, splits.values()):
            content = writer.split(images)
            file.write_text(json.dumps(content, ensure_ascii=False), encoding='utf-8')
        if writer.empty:
            notes.append(f'{writer.empty} objects without labelled keypoints or a box are left out')
        read = _check(files, splits, draft, folder)
        sigmas = default_sigmas(dataset.names)
        title = name or folder.absolute().name
        write_metainfo(str(draft / 'metainfo.py'), title, read[0], sigmas, dataset.pairs)
        rename_draft(draft, folder, _exists(folder))
    return Conversion(tuple(read), folder / 'metainfo.py', sigmas, dataset.pairs, tuple(notes))


def check_output(
    out: Path, image_mode: str = 'link', val_share: float | None = None, padding: float = PADDING
) -> None:
    """Check the arguments of `write_dataset`, before anything is read.

    Raises:
        ConfigError: If an argument is not valid.
        WorkDirError: If `out` exists or cannot be written.
    """
    if image_mode not in IMAGE_MODES:
        raise ValueError(f'image_mode is {image_mode!r}: expected {", ".join(IMAGE_MODES)}')
    if val_share is not None and not 0 <= val_share < 1:
        raise ConfigError(f'--val-share {val_share:g}: expected a number from 0 to below 1')
    if not 0 <= padding <= 10:
        raise ConfigError(f'--box-padding {padding:g}: expected a number from 0 to 10')
    if os.path.lexists(out):
        raise _exists(out)
    check_writable_dir(out.absolute().parent, 'OUT')


def _exists(out: Path) -> WorkDirError:
    return WorkDirError(f'OUT {out} already exists: choose another name, or remove it')


def _splits(dataset: LabelledDataset, share: float | None) -> dict[str, list[LabelledImage]]:
    """Return split → images; only training and validation, and test if the format has it."""
    splits: dict[str, list[LabelledImage]] = {'train': [], 'val': [], 'test': []}
    seen: dict[tuple[str, str], str] = {}
    for image in dataset.images:
        split = image.split or 'train'
        splits[split].append(image)
        key = split, image.where if image.file is None else os.path.abspath(image.file)
        if key in seen:
            raise DatasetError(f'{image.where}: the same image as {seen[key]}: expected one')
        seen[key] = image.where
    if splits['val'] and share is not None:
        raise ConfigError(
            f'--val-share {share:g}: the dataset has {len(splits["val"])} images for validation; '
            'remove the option'
        )
    labelled = [image for image in splits['train'] if image.objects]
    if not labelled:
        counts = ', '.join(f'{name} {len(images)}' for name, images in splits.items())
        raise DatasetError(
            f'there are no labelled objects for training: expected some; images: {counts}'
        )
    share = VAL_SHARE if share is None else share
    if not splits['val'] and share:
        if len(labelled) == 1:
            raise DatasetError(
                '1 image has labelled objects: expected at least 2, for training and validation; '
                'with --val-share 0, all are for training'
            )
        count = min(len(labelled) - 1, max(1, round(share * len(labelled))))
        chosen = {id(image) for image in random.Random(_SEED).sample(labelled, count)}
        splits['val'] = [image for image in labelled if id(image) in chosen]
        splits['train'] = [image for image in splits['train'] if id(image) not in chosen]
    return {split: images for split, images in splits.items() if images}


def _files(images: Iterable[LabelledImage]) -> set[Path]:
    return {Path(os.path.abspath(image.file)) for image in images if image.file is not None}


class _Writer:
    """Write the images, and convert the instances to entries of COCO.

    Args:
        dataset: The dataset.
        folder: Folder of the images.
        image_mode, padding: See `write_dataset`.

    Attributes:
        empty: Number of objects without labelled keypoints and boxes.
    """

    def __init__(
        self, dataset: LabelledDataset, folder: Path, image_mode: str, padding: float
    ) -> None:
        self._dataset, self._folder = dataset, folder
        self._mode, self._padding = image_mode, padding
        self._names: dict[str, Path | None] = {}  # name of a written image → its file
        self._images = self._objects = self.empty = 0
        files = [os.path.abspath(image.file) for image in dataset.images if image.file is not None]
        self._root = os.path.commonpath([os.path.dirname(file) for file in files]) if files else ''

    def split(self, images: Sequence[LabelledImage]) -> dict[str, Any]:
        """Return the content of an annotation file; without objects, an image list."""
        entries: list[dict] = []
        objects: list[dict] = []
        for image in images:
            name, size = self._image(image)
            if image.size is not None and image.size != size:
                raise DatasetError(
                    f'{image.where}: the size is {image.size[0]} x {image.size[1]}, and the file '
                    f'{image.file} has {size[0]} x {size[1]} pixels: expected the image that was '
                    'labelled'
                )
            self._images += 1
            entries.append(dict(id=self._images, file_name=name, width=size[0], height=size[1]))
            objects += self._entries(image, size)
        limbs = [[a + 1, b + 1] for a, b in self._dataset.skeleton]
        categories = [
            dict(id=index, name=name, keypoints=list(self._dataset.names), skeleton=limbs)
            for index, name in enumerate(self._dataset.categories, 1)
        ]
        content: dict[str, Any] = dict(images=entries, categories=categories)
        return {**content, 'annotations': objects} if objects else content

    def _image(self, image: LabelledImage) -> tuple[str, tuple[int, int]]:
        """Write an image; return its name and size."""
        if image.file is None:
            assert image.read is not None
            pixels = image.read()
            name = self._free_name(f'{image.name}.png', None)
            self._names[name] = None
            (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_image(self._folder / name, pixels)
            return name, (pixels.shape[1], pixels.shape[0])
        file = Path(os.path.abspath(image.file))
        size = image_size(file)
        if self._mode == 'in-place':
            return str(file), size
        name = self._free_name(PurePath(os.path.relpath(file, self._root)).as_posix(), file)
        if name not in self._names:
            self._names[name] = file
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if self._mode == 'copy':
                shutil.copyfile(file, path)
            else:
                path.symlink_to(file)
        return name, size

    def _free_name(self, name: str, file: Path | None) -> str:
        """Return the name, or one with a number if another image has it."""
        path, number, free = PurePath(name), 1, name
        while free in self._names and (file is None or self._names[free] != file):
            number += 1
            free = str(path.with_stem(f'{path.stem}_{number}'))
        return free

    def _entries(self, image: LabelledImage, size: tuple[int, int]) -> list[dict]:
        """Return the annotations of an image."""
        entries = []
        for item in image.objects:
            labelled = sum(visibility > 0 for _, _, visibility in item.points)
            if item.box is None and not labelled:
                self.empty += 1
                continue
            self._check_points(item, size)
            x, y, width, height = self._box(item, size)
            self._objects += 1
            entries.append(
                dict(
                    id=self._objects,
                    image_id=self._images,
                    category_id=self._dataset.categories.index(item.category) + 1,
                    iscrowd=int(item.crowd),
                    bbox=[x, y, width, height],
                    area=item.area if (item.area or 0) > 0 else AREA_OF_BOX * width * height,
                    num_keypoints=labelled,
                    keypoints=[value for point in item.points for value in point],
                )
            )
        return entries

    def _check_points(self, item: LabelledObject, size: tuple[int, int]) -> None:
        """Check that the labelled keypoints are in the image."""
        margin = OUTSIDE * max(size)
        for name, (x, y, visibility) in zip(self._dataset.names, item.points):
            inside = -margin <= x <= size[0] + margin and -margin <= y <= size[1] + margin
            if visibility and not inside:
                raise DatasetError(
                    f'{item.where}: the keypoint {shown(name)} is at ({x:g}, {y:g}): expected a '
                    f'point in the image of {size[0]} x {size[1]} pixels'
                )

    def _box(self, item: LabelledObject, size: tuple[int, int]) -> tuple[float, ...]:
        """Return the box of an object, clipped to the image."""
        if item.box is not None:
            left, top, width, height = item.box
            right, bottom = left + width, top + height
        else:
            xs = [x for x, _, visibility in item.points if visibility]
            ys = [y for _, y, visibility in item.points if visibility]
            grow = self._padding * max(max(xs) - min(xs), max(ys) - min(ys))
            least = _LEAST_SIDE * max(size)
            left, right = _enlarge(min(xs), max(xs), grow, least)
            top, bottom = _enlarge(min(ys), max(ys), grow, least)
        left, top = max(left, 0.0), max(top, 0.0)
        width, height = min(right, size[0]) - left, min(bottom, size[1]) - top
        if min(width, height) <= 0:
            raise DatasetError(
                f'{item.where}: the box {shown(item.box)} has no area in the image of {size[0]} x '
                f'{size[1]} pixels: expected x, y, width and height in the image'
            )
        return left, top, width, height


def _enlarge(low: float, high: float, grow: float, least: float) -> tuple[float, float]:
    """Return a range that is larger on both sides, and at least as long as given."""
    grow = max(grow, (least - (high - low)) / 2)
    return low - grow, high + grow


def _check(
    files: Sequence[Path], splits: dict[str, list[LabelledImage]], draft: Path, out: Path
) -> list[KeypointFile]:
    """Check the written files; return those with objects, with their final paths."""
    read = []
    for file, (split, images) in zip(files, splits.items()):
        if split == 'test' and not any(image.objects for image in images):
            continue
        try:
            checked = read_keypoint_file(str(file), str(draft / 'images'))
        except DatasetError as error:
            message = str(error).replace(str(draft), str(out))
            raise DatasetError(f'the converted annotations have an error: {message}') from error
        read.append(replace(checked, path=str(out / file.relative_to(draft))))
    return read
