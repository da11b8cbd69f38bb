"""The photographs of benchmarks/real_photographs.py, and their annotations."""

import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from pose_backbones.errors import ConfigError, DatasetError
from pose_backbones.structures.coco import read_json
from pose_backbones.structures.oks import AREA_OF_BOX
from pose_backbones.utils.files import atomic_write

#: dataset → split → numbers in the names of the photographs
IMAGES = Path(__file__).with_name('real_photographs_images.json')
#: margin around the labelled joints on each side, relative to the longer side of their box
_MARGIN = 0.2


def annotation_file(folder: Path, split: str) -> Path:
    """Return the annotations of COCO 2017 for `train` or `val`, or those of `convert-dataset`."""
    file = folder / f'annotations/person_keypoints_{split}2017.json'
    return file if file.is_file() else folder / f'annotations/{split}.json'


def selected_file(out: Path, name: str, split: str) -> Path:
    """Return the file that `write_annotations` writes for a split."""
    return out / f'annotations/{name}_{split}.json'


def write_annotations(folder: Path, name: str, out: Path) -> None:
    """Write the annotations of the photographs of `IMAGES`.

    The splits of the dataset do not matter. Its boxes are those of COCO; the box of a person of
    LSPET is that of the labelled joints with a margin.

    Args:
        folder: Directory of the dataset. Its images are in `images`, or in a folder for each split.
        name: Key of `IMAGES`: `'lspet'` or `'coco'`.
        out: Directory of the runs. The names of images are relative to `folder`.

    Raises:
        DatasetError: If photographs are missing.
        ConfigError: If the runs in `out` have other annotations.
    """
    images, people, categories = _read(folder)
    texts = {}
    for split, numbers in json.loads(IMAGES.read_text(encoding='utf-8'))[name].items():
        missing = [number for number in numbers if number not in images]
        if missing:
            raise DatasetError(
                f'{folder} has no photograph {missing[0]} of {name}, and lacks {len(missing)} of '
                f'the {len(numbers)} for {split}: expected all of {IMAGES.name}'
            )
        selected = dict(
            images=[images[number] for number in numbers],
            annotations=[person for number in numbers for person in people[number]],
            categories=categories,
        )
        if name == 'lspet':
            for person in selected['annotations']:
                person.update(_box(person, images[person['image_id']]))
        for index, person in enumerate(selected['annotations'], 1):
            person['id'] = index
        texts[split] = json.dumps(selected) + '\n'
    for split, text in texts.items():
        write_once(selected_file(out, name, split), text, str(folder))


def write_once(path: Path, text: str, source: str) -> None:
    """Write a file on which all runs of a directory depend.

    Args:
        path: The file, in the directory of the runs.
        text: Its content.
        source: What it was made from, for the error.

    Raises:
        ConfigError: If the file exists with another content.
    """
    if path.is_file():
        if path.read_text(encoding='utf-8') != text:
            raise ConfigError(
                f'{source} differs from what the other runs used, see {path}: expected the same '
                'file or directory, or another --out (or remove that file if no run has used it)'
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as draft:
        draft.write_text(text, encoding='utf-8')


def _read(folder: Path) -> tuple[dict[int, dict], dict[int, list[dict]], list[dict]]:
    """Return the images and the people by the number in the name of the image, and categories."""
    images: dict[int, dict] = {}
    people: dict[int, list[dict]] = defaultdict(list)
    for split in ('train', 'val'):
        file = annotation_file(folder, split)
        content = read_json(file)
        place = 'images'
        if not (folder / place).is_dir():
            place = split if file.stem == split else f'{split}2017'
        numbers = {}
        for image in content['images']:
            number = _number(image['file_name'])
            numbers[image['id']] = number
            # An absolute path stays as it is.
            name = str(Path(place) / image['file_name'])
            images[number] = dict(image, id=number, file_name=name)
        for person in content['annotations']:
            number = numbers[person['image_id']]
            people[number].append(dict(person, image_id=number))
    return images, people, content['categories']


def _number(name: str) -> int:
    found = re.search(r'\d+$', Path(name).stem)
    if not found:
        raise DatasetError(f'image {name}: expected a number at the end, as in im00001.jpg')
    return int(found[0])


def _box(person: dict, image: dict) -> dict:
    """Return the box and the area of a person of LSPET, in pixels."""
    points = np.reshape(person['keypoints'], (-1, 3))
    points = points[points[:, 2] > 0, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    margin = _MARGIN * (high - low).max()
    size = (image['width'], image['height'])
    low, high = np.maximum(low - margin, 0), np.minimum(high + margin, size)
    width, height = (high - low).tolist()
    box = [round(value, 1) for value in (*low.tolist(), width, height)]
    return dict(bbox=box, area=round(AREA_OF_BOX * box[2] * box[3], 1))
