"""Folders of synthetic data sets, whatever their layout."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .annotations import sample_detections
from .scene import Crowding, Scene, render_scene

#: Changes whenever the same seed gives other files.
GENERATOR_VERSION = 1
SPLITS = ('train', 'val')
_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 90)
_MANIFEST = 'synthetic.json'
#: Most annotations of one image; annotation ids leave room for these.
_SLOTS = 16
#: Most people in the foreground of an image.
MAX_PEOPLE = 12
#: Shares of people close to others, of which each image has one.
_CLOSE = (0.0, 0.5, 0.95)


class SyntheticDataError(ValueError):
    """An argument is out of range, or the data set cannot be written to the folder."""


@dataclass(frozen=True)
class SyntheticSummary:
    """Summary of a generated data set.

    Attributes:
        out_dir: Folder of the data set.
        images: Number of images of both splits.
        people: Number of annotations of both splits.
        seconds: Time it took, in seconds.
        existed: Whether the data set was there already; then nothing was
            drawn.
    """

    out_dir: Path
    images: int
    people: int
    seconds: float
    existed: bool


def _image_size(rng: np.random.Generator, size: tuple[int, int]) -> tuple[int, int]:
    """Sample the size of an image: the nominal size, rotated, or slightly smaller."""
    kind = rng.random()
    if kind < 0.15:
        return size[1], size[0]
    if kind < 0.3:
        cut = rng.uniform(0.8, 1.0, 2)
        return tuple(max(64, int(c * v)) for c, v in zip(cut, size, strict=True))
    return size


def render(wanted: dict, split: str, index: int) -> Scene:
    """Render the scene of one image. The counts of the manifest have no influence on it."""
    rng = np.random.default_rng([wanted['seed'], SPLITS.index(split), index])
    size = _image_size(rng, tuple(wanted['image_size']))
    if wanted['people_per_image'] is None:
        return render_scene(rng, size)
    return render_scene(
        rng, size, Crowding(tuple(wanted['people_per_image']), float(rng.choice(_CLOSE)))
    )


def image_id(split: str, index: int) -> int:
    """Get the id of an image: odd for train and even for val, independent of the counts."""
    return 2 * index + 1 + SPLITS.index(split)


@dataclass(frozen=True)
class Layout:
    """How a data set is laid out.

    Attributes:
        generator: Its name in the manifest.
        folders: Those to make.
        own_files: Number of images of each split → names of all files but
            the manifest.
        write: Folder, manifest and what to call after each image → number
            of people; writes everything but the manifest.
    """

    generator: str
    folders: tuple[str, ...]
    own_files: Callable[[dict[str, int]], Iterator[str]]
    write: Callable[[Path, dict, Callable[[], None]], int]


@contextmanager
def _access(path: Path) -> Iterator[None]:
    """Turn an OSError into an error that names the path."""
    try:
        yield
    except OSError as error:
        raise SyntheticDataError(
            f'cannot write {error.filename or path}: '
            f'{error.strerror or error}; choose a folder with permission to '
            f'write and free space'
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that exists either as a whole or not at all.

    `utils.files.atomic_write` does the same; this subpackage imports nothing of the others.
    """
    draft = path.with_name(f'{path.name}.{os.getpid()}.part')
    with _access(path):
        try:
            with open(draft, 'wb') as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, as `write_bytes` does."""
    text = json.dumps(content, separators=(',', ':')) + '\n'
    write_bytes(path, text.encode())


def _read_manifest(out: Path, layout: Layout) -> dict | None:
    """Read the manifest of an earlier output in the folder; None if there is none."""
    try:
        found = json.loads((out / _MANIFEST).read_text(encoding='utf-8'))
        counts = found['counts']
        if found['generator'] == layout.generator and all(
            isinstance(counts[s], int) for s in SPLITS
        ):
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _is_complete(out: Path, layout: Layout, found: dict) -> bool:
    return (
        found.get('complete') is True
        and isinstance(found.get('people'), int)
        and all((out / name).is_file() for name in layout.own_files(found['counts']))
    )


def _prepare(out: Path, layout: Layout, wanted: dict, overwrite: bool) -> dict | None:
    """Make room for the data set; return its manifest if complete."""
    if out.exists() and not out.is_dir():
        raise SyntheticDataError(f'{out} exists and is not a folder; choose another one')
    if not out.exists() or not any(out.iterdir()):
        return None
    found = _read_manifest(out, layout)
    if found is None:
        raise SyntheticDataError(
            f'{out} is not empty and holds no synthetic data set of this '
            f'layout; choose another folder'
        )
    same = all(found.get(k) == v for k, v in wanted.items())
    if same and not overwrite and _is_complete(out, layout, found):
        return found
    if not same and not overwrite:
        raise SyntheticDataError(
            f'{out} holds a synthetic data set made with other parameters; '
            f'choose another folder or pass --overwrite'
        )
    for name in layout.folders:
        if (out / name).is_symlink():
            raise SyntheticDataError(
                f'{out / name} is a link: files of another folder are not '
                'replaced; choose another folder'
            )
    for name in layout.own_files(found['counts']):
        (out / name).unlink(missing_ok=True)
    for name in layout.own_files(wanted['counts']):
        if (out / name).exists():
            raise SyntheticDataError(
                f'{out / name} is in the way and was not '
                f'written by this generator; choose another '
                f'folder'
            )
    return None


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a JPEG file of a (h, w, 3) BGR image, as `write_bytes` does."""
    _, content = cv2.imencode('.jpg', image, _QUALITY)
    write_bytes(path, content.tobytes())


def draw_split(
    out: Path,
    split: str,
    wanted: dict,
    path: str,
    annotate: Callable[[Scene, int, int], tuple[list, dict]],
    tick: Callable[[], None],
) -> tuple[list, list, list]:
    """Draw the images of a split in a layout with COCO's kind of lists.

    Args:
        out: Folder of the data set.
        split: One of `SPLITS`.
        wanted: The manifest.
        path: Of an image, below the folder, to be formatted with its id.
        annotate: Scene, id of the image and the first id of annotations →
            annotations, and what else the entry of the image has.
        tick: Called after each image.

    Returns:
        Entries of images, annotations, and, of 'val', detections.
    """
    images, annotations, detections = [], [], []
    for index in range(wanted['counts'][split]):
        scene = render(wanted, split, index)
        number = image_id(split, index)
        file = out / path.format(number)
        write_image(file, scene.image)
        people, more = annotate(scene, number, (number - 1) * _SLOTS + 1)
        height, width = scene.image.shape[:2]
        images.append(
            {'id': number, 'file_name': file.name, 'width': width, 'height': height, **more}
        )
        annotations += people
        if split == 'val':
            rng = np.random.default_rng([wanted['seed'], len(SPLITS), index])
            detections += sample_detections(rng, scene, number)
        tick()
    return images, annotations, detections


def _write(
    out: Path, layout: Layout, wanted: dict, progress: Callable[[int, int], None] | None
) -> int:
    """Write the data set of a manifest; count its people."""
    for name in layout.folders:
        with _access(out / name):
            (out / name).mkdir(parents=True, exist_ok=True)
    write_json(out / _MANIFEST, {**wanted, 'complete': False})
    made, total = 0, sum(wanted['counts'].values())

    def tick() -> None:
        nonlocal made
        made += 1
        if progress is not None:
            progress(made, total)

    people = layout.write(out, wanted, tick)
    write_json(out / _MANIFEST, {**wanted, 'complete': True, 'people': people})
    return people


def _check(
    num_train: int,
    num_val: int,
    seed: int,
    image_size: tuple[int, int],
    people: tuple[int, int] | None,
) -> None:
    for name, value in (('num_train', num_train), ('num_val', num_val), ('seed', seed)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f'expected an int for {name}, got {value!r}')
        if value < 0:
            raise SyntheticDataError(f'expected {name} >= 0, got {value}')
    if num_train + num_val == 0:
        raise SyntheticDataError('expected at least one image, got num_train = num_val = 0')
    if len(image_size) != 2 or not all(isinstance(v, int) and 64 <= v <= 4096 for v in image_size):
        raise SyntheticDataError(
            f'expected image_size as width and height from 64 to 4096 pixels, got {image_size!r}'
        )
    if people is not None and not (
        len(people) == 2
        and all(isinstance(v, int) for v in people)
        and 0 <= people[0] <= people[1] <= MAX_PEOPLE
    ):
        raise SyntheticDataError(
            f'expected people as the least and the greatest '
            f'number an image, 0 to {MAX_PEOPLE}, got '
            f'{people!r}'
        )


def make_data_set(
    layout: Layout,
    out_dir: str | os.PathLike,
    num_train: int,
    num_val: int,
    seed: int,
    image_size: tuple[int, int],
    overwrite: bool,
    progress: Callable[[int, int], None] | None,
    people: tuple[int, int] | None,
) -> SyntheticSummary:
    """Make a data set of drawn people.

    Args:
        layout: Its files.
        out_dir: As the other arguments, see
            `make_synthetic_coco`.
        num_train: Number of training images.
        num_val: Number of validation images.
        seed: Seed of all randomness, 0 or more.
        image_size: Nominal width and height in pixels, 64 to 4096.
        overwrite: Whether to replace an earlier output.
        progress: Called after each image.
        people: Least and greatest number of people an image.

    Returns:
        What was made.

    Raises:
        TypeError: A count or the seed is no int.
        SyntheticDataError: A count or a size is out of range, the folder holds
            something else, or something could not be written.
    """
    image_size = tuple(image_size)
    people = None if people is None else tuple(people)
    _check(num_train, num_val, seed, image_size, people)
    out, start = Path(out_dir), time.perf_counter()
    wanted = {
        'generator': layout.generator,
        'version': GENERATOR_VERSION,
        'seed': seed,
        'counts': {'train': num_train, 'val': num_val},
        'image_size': list(image_size),
        'people_per_image': None if people is None else list(people),
    }
    with _access(out):
        done = _prepare(out, layout, wanted, overwrite)
    drawn = done['people'] if done else _write(out, layout, wanted, progress)
    return SyntheticSummary(
        out, num_train + num_val, drawn, time.perf_counter() - start, done is not None
    )
