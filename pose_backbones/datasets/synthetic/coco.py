"""Writes synthetic scenes as a COCO person-keypoints data set."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .scene import Scene, ScenePerson, render_scene
from .skeleton import KEYPOINT_NAMES

#: Changes whenever the same seed gives other files.
GENERATOR_VERSION = 1
SPLITS = ('train', 'val')
#: Most annotations of one image; annotation ids leave room for these.
_SLOTS = 16
_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 90)
_MANIFEST = 'synthetic.json'
_DETECTIONS = 'person_detection_results/val_detections.json'

PERSON_CATEGORY = {
    'supercategory': 'person', 'id': 1, 'name': 'person',
    'keypoints': list(KEYPOINT_NAMES),
    'skeleton': [[16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12],
                 [7, 13], [6, 7], [6, 8], [7, 9], [8, 10], [9, 11], [2, 3],
                 [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7]]}


@dataclass(frozen=True)
class SyntheticSummary:
    """What :func:`make_synthetic_coco` did.

    Attributes:
        out_dir: Folder of the data set.
        images: Number of images of both splits.
        people: Number of annotations of both splits.
        seconds: Time it took.
        existed: Whether the data set was there already; then nothing was
            drawn.
    """

    out_dir: Path
    images: int
    people: int
    seconds: float
    existed: bool


def encode_rle(mask: np.ndarray) -> dict:
    """Encodes a mask as COCO's uncompressed run lengths.

    Args:
        mask: (h, w) bool.

    Returns:
        ``counts``, the lengths of the runs in column-major order beginning
        with background, and ``size``, [h, w].
    """
    flat = np.asarray(mask, bool).ravel(order='F')
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate(([0], turns, [flat.size]))).tolist()
    if flat.size and flat[0]:
        counts = [0, *counts]
    return {'counts': counts, 'size': [int(v) for v in mask.shape]}


def _bridge(outer: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Joins a hole to the outline around it by an edge used twice."""
    gap = ((outer[:, None] - hole[None]) ** 2).sum(2)
    i, j = np.unravel_index(int(gap.argmin()), gap.shape)
    return np.concatenate((outer[:i + 1], hole[j:], hole[:j + 1], outer[i:]))


def encode_polygons(mask: np.ndarray) -> list[list[float]]:
    """Outlines a mask as COCO polygons.

    Holes are joined to their outline, so that the polygons cover the same
    pixels as the mask. Slivers of less than four pixels are dropped unless
    there is nothing else.

    Args:
        mask: (h, w) bool with at least one pixel set.

    Returns:
        Polygons as flat lists x0, y0, x1, y1, ... where a pixel's left
        edge is at its index.

    Raises:
        ValueError: The mask is empty.
    """
    grey = np.asarray(mask, np.uint8)
    x, y, w, h = cv2.boundingRect(grey)
    if w == 0:
        raise ValueError('expected a mask with pixels, got an empty one')
    times = 4
    part = np.zeros((h * times + 2, w * times + 2), np.uint8)
    part[1:-1, 1:-1] = grey[y:y + h, x:x + w].repeat(times, 0).repeat(
        times, 1)
    found, tree = cv2.findContours(part, cv2.RETR_CCOMP,
                                   cv2.CHAIN_APPROX_SIMPLE)
    tree = tree[0]
    sizes = [cv2.contourArea(c) / times ** 2 for c in found]
    tops = [i for i in range(len(found)) if tree[i][3] < 0]
    keep = [i for i in tops if sizes[i] >= 4] or [
        max(tops, key=lambda i: sizes[i])]
    near = 2.3 if np.count_nonzero(grey) > 1500 else 1.0
    polygons = []
    for i in keep:
        outline = cv2.approxPolyDP(found[i], near, True)[:, 0]
        if len(outline) < 3:
            outline = found[i][:, 0]
        child = tree[i][2]
        while child >= 0:
            if sizes[child] >= 1.5:
                outline = _bridge(outline, cv2.approxPolyDP(
                    found[child], near, True)[:, 0])
            child = tree[child][0]
        places = (outline - 0.5) / times + (x, y)
        polygons.append(np.round(places, 2).ravel().tolist())
    return polygons


def encode_person(person: ScenePerson, ann_id: int, image_id: int) -> dict:
    """Makes a COCO person-keypoints annotation.

    Args:
        person: A person of a scene.
        ann_id: Id of the annotation.
        image_id: Id of the image.

    Returns:
        The annotation.
    """
    segmentation = (encode_rle(person.mask) if person.iscrowd
                    else encode_polygons(person.mask))
    keypoints = []
    for x, y, v in person.joints.tolist():
        keypoints += [round(x, 2), round(y, 2), int(v)]
    return {
        'id': ann_id, 'image_id': image_id, 'category_id': 1,
        'iscrowd': int(person.iscrowd),
        'num_keypoints': int((person.joints[:, 2] > 0).sum()),
        'keypoints': keypoints, 'bbox': [float(v) for v in person.bbox],
        'area': float(person.area), 'segmentation': segmentation}


def sample_detections(rng: np.random.Generator, scene: Scene, image_id: int
                      ) -> list[dict]:
    """Imitates a person detector on a scene.

    Args:
        rng: Source of randomness.
        scene: The scene.
        image_id: Id of its image.

    Returns:
        Results with ``image_id``, ``category_id``, ``bbox`` (x, y, width,
        height) and ``score``: jittered boxes with a few missing, some
        duplicates, and false positives of low score.
    """
    height, width = scene.image.shape[:2]
    results = []

    def add(box: np.ndarray, score: float) -> None:
        x0, y0 = np.maximum(box[:2], 0)
        x1, y1 = np.minimum(box[:2] + box[2:], (width, height))
        if x1 - x0 >= 2 and y1 - y0 >= 2:
            results.append({
                'image_id': image_id, 'category_id': 1,
                'bbox': [round(float(v), 2)
                         for v in (x0, y0, x1 - x0, y1 - y0)],
                'score': round(float(np.clip(score, 0.01, 0.999)), 4)})

    for person in scene.people:
        box = np.array(person.bbox, float)
        seen = int((person.joints[:, 2] == 2).sum())
        quality = 0.95 - 0.4 * (seen < 4) - 0.15 * (box[3] < 40)
        if rng.random() < (0.04 if seen else 0.3):
            continue
        for extra in range(1 + (rng.random() < 0.12)):
            spread = 0.03 + 0.07 * extra
            jitter = rng.normal(0, spread, 4)
            moved = box + jitter * np.tile(box[2:], 2)
            add(moved, quality - 1.2 * np.abs(jitter).mean()
                - extra * rng.uniform(0.2, 0.5) - abs(rng.normal(0, 0.05)))
    for _ in range(rng.poisson(0.7)):
        tall = float(np.exp(rng.uniform(np.log(30), np.log(0.8 * height))))
        wide = tall * rng.uniform(0.3, 0.7)
        add(np.array((rng.uniform(-0.2 * wide, width - 0.5 * wide),
                      rng.uniform(0, max(1.0, height - 0.5 * tall)), wide,
                      tall)), 0.05 + 0.45 * rng.beta(1, 2.2))
    return results


def _image_size(rng: np.random.Generator, size: tuple[int, int]
                ) -> tuple[int, int]:
    """The nominal size, sometimes upright or cut."""
    kind = rng.random()
    if kind < 0.15:
        return size[1], size[0]
    if kind < 0.3:
        cut = rng.uniform(0.8, 1.0, 2)
        return tuple(max(64, int(c * v)) for c, v in zip(
            cut, size, strict=True))
    return size


def _render(seed: int, split: str, index: int, size: tuple[int, int]
            ) -> Scene:
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    return render_scene(rng, _image_size(rng, size))


def _image_id(split: str, index: int) -> int:
    """Odd for train and even for val: neither depends on the counts."""
    return 2 * index + 1 + SPLITS.index(split)


def _own_files(counts: dict[str, int]) -> Iterator[str]:
    """Names of all files of a data set except the manifest."""
    for split in SPLITS:
        for index in range(counts[split]):
            yield f'{split}/{_image_id(split, index):012d}.jpg'
        yield f'annotations/person_keypoints_{split}.json'
    yield _DETECTIONS


def _write_json(path: Path, content: object) -> None:
    spare = path.with_name(path.name + '.part')
    spare.write_text(json.dumps(content, separators=(',', ':')) + '\n',
                     encoding='utf-8')
    os.replace(spare, path)


def _read_manifest(out: Path) -> dict | None:
    try:
        found = json.loads((out / _MANIFEST).read_text(encoding='utf-8'))
        counts = found['counts']
        if found['generator'] == 'pose_backbones.synthetic' and all(
                isinstance(counts[s], int) for s in SPLITS):
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _prepare(out: Path, wanted: dict, overwrite: bool) -> dict | None:
    """Makes room for the data set; returns its manifest if complete."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f'{out} exists and is not a folder; choose '
                              f'another one')
    if not out.exists() or not any(out.iterdir()):
        return None
    found = _read_manifest(out)
    if found is None:
        raise FileExistsError(
            f'{out} is not empty and holds no synthetic data set; choose '
            f'another folder')
    same = all(found.get(k) == v for k, v in wanted.items())
    if same and found.get('complete') and not overwrite and all(
            (out / name).is_file() for name in _own_files(wanted['counts'])):
        return found
    if not same and not overwrite:
        raise FileExistsError(
            f'{out} holds a synthetic data set made with other parameters; '
            f'choose another folder or pass --overwrite')
    for name in _own_files(found['counts']):
        (out / name).unlink(missing_ok=True)
    for name in _own_files(wanted['counts']):
        if (out / name).exists():
            raise FileExistsError(f'{out / name} is in the way and was not '
                                  f'written by this generator')
    return None


def _write_split(out: Path, split: str, count: int, seed: int,
                 size: tuple[int, int], tick: Callable[[], None]) -> int:
    """Writes the images and annotations of a split; counts its people."""
    images, annotations, detections = [], [], []
    for index in range(count):
        scene = _render(seed, split, index, size)
        image_id = _image_id(split, index)
        name = f'{image_id:012d}.jpg'
        if not cv2.imwrite(str(out / split / name), scene.image, _QUALITY):
            raise OSError(f'could not write {out / split / name}')
        height, width = scene.image.shape[:2]
        images.append({'id': image_id, 'file_name': name, 'width': width,
                       'height': height, 'license': 1})
        first = (image_id - 1) * _SLOTS + 1
        annotations += [encode_person(p, first + k, image_id)
                        for k, p in enumerate(scene.people)]
        if split == 'val':
            rng = np.random.default_rng([seed, len(SPLITS), index])
            detections += sample_detections(rng, scene, image_id)
        tick()
    _write_json(out / f'annotations/person_keypoints_{split}.json', {
        'info': {'description': 'Synthetic people with COCO keypoints',
                 'version': str(GENERATOR_VERSION), 'year': 2024},
        'licenses': [{'id': 1, 'name': 'Synthetic, no rights reserved',
                      'url': ''}],
        'images': images, 'annotations': annotations,
        'categories': [PERSON_CATEGORY]})
    if split == 'val':
        _write_json(out / _DETECTIONS, detections)
    return len(annotations)


def _check(num_train: int, num_val: int, seed: int,
           image_size: tuple[int, int]) -> None:
    for name, value in (('num_train', num_train), ('num_val', num_val),
                        ('seed', seed)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f'expected an int for {name}, got {value!r}')
        if value < 0:
            raise ValueError(f'expected {name} >= 0, got {value}')
    if num_train + num_val == 0:
        raise ValueError('expected at least one image, got num_train = '
                         'num_val = 0')
    if len(image_size) != 2 or not all(
            isinstance(v, int) and 64 <= v <= 4096 for v in image_size):
        raise ValueError(f'expected image_size as width and height from 64 '
                         f'to 4096, got {image_size!r}')


def make_synthetic_coco(
        out_dir: str | os.PathLike, num_train: int, num_val: int,
        seed: int = 0, image_size: tuple[int, int] = (384, 288),
        overwrite: bool = False,
        progress: Callable[[int, int], None] | None = None,
) -> SyntheticSummary:
    """Makes a data set of drawn people in the layout of COCO keypoints.

    Every image depends on the seed, the split, its index and the nominal
    size only: a larger data set begins with the images of a smaller one.

    Args:
        out_dir: Folder to write; new, empty, or an earlier output.
        num_train: Number of training images.
        num_val: Number of validation images.
        seed: Seed of all randomness, 0 or more.
        image_size: Nominal width and height; some images are upright or
            somewhat smaller.
        overwrite: Whether to replace an earlier output made with other
            parameters; files of others are never touched.
        progress: Called with the numbers of images done and of all images
            after each image.

    Returns:
        What was made. If the folder held the complete data set with the
        same parameters, it is left alone and ``existed`` is set.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: A count or a size is out of range.
        FileExistsError: The folder holds something else.
        OSError: Something could not be written.
    """
    image_size = tuple(image_size)
    _check(num_train, num_val, seed, image_size)
    out, start = Path(out_dir), time.perf_counter()
    counts = {'train': num_train, 'val': num_val}
    total = num_train + num_val
    manifest = {'generator': 'pose_backbones.synthetic',
                'version': GENERATOR_VERSION, 'seed': seed,
                'counts': counts, 'image_size': list(image_size)}
    done = _prepare(out, manifest, overwrite)
    if done is not None:
        return SyntheticSummary(out, total, int(done.get('people', 0)),
                                time.perf_counter() - start, True)
    for name in (*SPLITS, 'annotations', 'person_detection_results'):
        (out / name).mkdir(parents=True, exist_ok=True)
    _write_json(out / _MANIFEST, {**manifest, 'complete': False})
    made = 0

    def tick() -> None:
        nonlocal made
        made += 1
        if progress is not None:
            progress(made, total)

    people = sum(_write_split(out, split, counts[split], seed, image_size,
                              tick) for split in SPLITS)
    _write_json(out / _MANIFEST, {**manifest, 'complete': True,
                                  'people': people})
    return SyntheticSummary(out, total, people,
                            time.perf_counter() - start, False)
