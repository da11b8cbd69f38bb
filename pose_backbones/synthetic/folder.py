"""Write directories of synthetic datasets, for all formats."""

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
from .poses import POSES
from .scene import Crowding, Scene, render_scene

#: increased whenever the same seed generates different files
GENERATOR_VERSION = 1
SPLITS = ('train', 'val')
_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 90)
_MANIFEST = 'synthetic.json'
#: maximum number of annotations of an image; annotation IDs are spaced accordingly
_SLOTS = 16
#: maximum number of people in the foreground of an image
MAX_PEOPLE = 12
#: fractions of people close to others; one of them is sampled for each image
_CLOSE = (0.0, 0.5, 0.95)


class SyntheticDataError(ValueError):
    """An argument is out of range, or the dataset cannot be written to the directory."""


@dataclass(frozen=True)
class SyntheticSummary:
    """Summary of a generated dataset.

    Attributes:
        out_dir: Directory of the dataset.
        images: Number of images of both splits.
        people: Number of annotations of both splits.
        seconds: Elapsed time in seconds.
        existed: Whether the dataset already existed, so that nothing was generated.
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


def render(manifest: dict, split: str, index: int) -> Scene:
    """Render the scene of one image, which does not depend on the counts in the manifest."""
    rng = np.random.default_rng([manifest['seed'], SPLITS.index(split), index])
    size = _image_size(rng, tuple(manifest['image_size']))
    people, crowding = manifest['people_per_image'], None
    if people is not None:
        crowding = Crowding(tuple(people), float(rng.choice(_CLOSE)))
    return render_scene(rng, size, crowding, manifest['poses'])


def image_id(split: str, index: int) -> int:
    """Return the ID of an image: odd for train and even for val, independent of the counts."""
    return 2 * index + 1 + SPLITS.index(split)


@dataclass(frozen=True)
class Layout:
    """Directory layout of a dataset format.

    Attributes:
        generator: Name of the generator in the manifest.
        folders: Directories to create.
        file_names: Function from the number of images of each split to the names of all files
            except the manifest.
        write: Function that writes all files except the manifest. Its arguments are the directory,
            the manifest and a function to call after each image; it returns the number of people.
    """

    generator: str
    folders: tuple[str, ...]
    file_names: Callable[[dict[str, int]], Iterator[str]]
    write: Callable[[Path, dict, Callable[[], None]], int]


@contextmanager
def _access(path: Path) -> Iterator[None]:
    """Convert an OSError to a `SyntheticDataError` with the path."""
    try:
        yield
    except OSError as error:
        raise SyntheticDataError(
            f'cannot write {error.filename or path}: '
            f'{error.strerror or error}; choose a folder with write permission '
            f'and free space'
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically.

    `utils.files.atomic_write` does the same, but this subpackage imports no other subpackage.
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
    """Write a JSON file atomically."""
    text = json.dumps(content, separators=(',', ':')) + '\n'
    write_bytes(path, text.encode())


def _read_manifest(out: Path, layout: Layout) -> dict | None:
    """Read the manifest of an earlier output in the directory; return None if there is none."""
    try:
        earlier = json.loads((out / _MANIFEST).read_text(encoding='utf-8'))
        counts = earlier['counts']
        if earlier['generator'] == layout.generator and all(
            isinstance(counts[s], int) for s in SPLITS
        ):
            # Manifests of earlier versions lack it.
            earlier.setdefault('poses', 'everyday')
            return earlier
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return None


def _is_complete(out: Path, layout: Layout, earlier: dict) -> bool:
    return (
        earlier.get('complete') is True
        and isinstance(earlier.get('people'), int)
        and all((out / name).is_file() for name in layout.file_names(earlier['counts']))
    )


def _prepare(out: Path, layout: Layout, manifest: dict, overwrite: bool) -> dict | None:
    """Remove an earlier output if allowed; return its manifest if it is complete and the same."""
    if out.exists() and not out.is_dir():
        raise SyntheticDataError(f'{out} exists and is not a folder; choose another one')
    if not out.exists() or not any(out.iterdir()):
        return None
    earlier = _read_manifest(out, layout)
    if earlier is None:
        raise SyntheticDataError(
            f'{out} is not empty and contains no synthetic dataset of this '
            f'format; choose another folder'
        )
    is_same = all(earlier.get(k) == v for k, v in manifest.items())
    if is_same and not overwrite and _is_complete(out, layout, earlier):
        return earlier
    if not is_same and not overwrite:
        raise SyntheticDataError(
            f'{out} contains a synthetic dataset with other parameters; '
            f'choose another folder or pass --overwrite'
        )
    for name in layout.folders:
        if (out / name).is_symlink():
            raise SyntheticDataError(
                f'{out / name} is a link: files of another folder are not '
                'replaced; choose another folder'
            )
    for name in layout.file_names(earlier['counts']):
        (out / name).unlink(missing_ok=True)
    for name in layout.file_names(manifest['counts']):
        if (out / name).exists():
            raise SyntheticDataError(
                f'{out / name} already exists and was not '
                f'written by this generator; choose another '
                f'folder'
            )
    return None


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a (h, w, 3) BGR image as a JPEG file, atomically."""
    _, content = cv2.imencode('.jpg', image, _QUALITY)
    write_bytes(path, content.tobytes())


def draw_split(
    out: Path,
    split: str,
    manifest: dict,
    path: str,
    annotate: Callable[[Scene, int, int], tuple[list, dict]],
    tick: Callable[[], None],
) -> tuple[list, list, list]:
    """Draw and write the images of a split, for formats with COCO's lists.

    Args:
        out: Directory of the dataset.
        split: One of `SPLITS`.
        manifest: The manifest.
        path: Path of an image below the directory, a format string for the image ID.
        annotate: Function from a scene, an image ID and the first annotation ID to the annotations
            and additional fields of the image entry.
        tick: Function to call after each image.

    Returns:
        Entries of images and annotations, and for the split val of detections.
    """
    images, annotations, detections = [], [], []
    for index in range(manifest['counts'][split]):
        scene = render(manifest, split, index)
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
            rng = np.random.default_rng([manifest['seed'], len(SPLITS), index])
            detections += sample_detections(rng, scene, number)
        tick()
    return images, annotations, detections


def _write(
    out: Path, layout: Layout, manifest: dict, progress: Callable[[int, int], None] | None
) -> int:
    """Write the dataset of a manifest; return the number of people."""
    for name in layout.folders:
        with _access(out / name):
            (out / name).mkdir(parents=True, exist_ok=True)
    write_json(out / _MANIFEST, {**manifest, 'complete': False})
    num_finished, total = 0, sum(manifest['counts'].values())

    def tick() -> None:
        nonlocal num_finished
        num_finished += 1
        if progress is not None:
            progress(num_finished, total)

    people = layout.write(out, manifest, tick)
    write_json(out / _MANIFEST, {**manifest, 'complete': True, 'people': people})
    return people


def _check(
    num_train: int,
    num_val: int,
    seed: int,
    image_size: tuple[int, int],
    people: tuple[int, int] | None,
    poses: str,
) -> None:
    if poses not in tuple(POSES):
        raise SyntheticDataError(f'expected poses {" or ".join(POSES)}, got {poses!r}')
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
            f'expected people as the minimum and maximum '
            f'number per image, 0 to {MAX_PEOPLE}, got '
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
    poses: str,
) -> SyntheticSummary:
    """Generate a dataset of synthetic people.

    Args:
        layout: Directory layout of the format.
        out_dir: Output directory, see `make_synthetic_coco`.
        num_train: Number of training images.
        num_val: Number of validation images.
        seed: Random seed, 0 or more.
        image_size: Nominal width and height in pixels, 64 to 4096.
        overwrite: Whether to replace an earlier output.
        progress: Function that is called after each image.
        people: Minimum and maximum number of people per image.
        poses: A key of `POSES`.

    Returns:
        A summary, see `make_synthetic_coco`.

    Raises:
        TypeError: If a count or the seed is not an int.
        SyntheticDataError: If an argument is out of range, the directory contains other files, or
            the dataset cannot be written.
    """
    image_size = tuple(image_size)
    people = None if people is None else tuple(people)
    _check(num_train, num_val, seed, image_size, people, poses)
    out, start = Path(out_dir), time.perf_counter()
    manifest = {
        'generator': layout.generator,
        'version': GENERATOR_VERSION,
        'seed': seed,
        'counts': {'train': num_train, 'val': num_val},
        'image_size': list(image_size),
        'people_per_image': None if people is None else list(people),
        'poses': poses,
    }
    with _access(out):
        existing = _prepare(out, layout, manifest, overwrite)
    drawn = existing['people'] if existing else _write(out, layout, manifest, progress)
    return SyntheticSummary(
        out, num_train + num_val, drawn, time.perf_counter() - start, existing is not None
    )
