"""Read the labels of a DeepLabCut project, `CollectedData_*.csv` or `.h5`.

Source: https://deeplabcut.github.io/DeepLabCut/docs/standardDeepLabCut_UserGuide.html and
https://deeplabcut.github.io/DeepLabCut/docs/maDLC_UserGuide.html.
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import DatasetError, first_line, list_names, shown
from ...utils.files import check_regular_file, read_text
from .extra import import_package
from .labelled import (
    MISSING,
    VISIBLE,
    LabelledDataset,
    LabelledImage,
    LabelledObject,
    Point,
    choose_names,
    find_image,
    finite,
    read_yaml,
)

#: header rows, of which `individuals` is only in projects with several animals
_SCORER, _INDIVIDUALS, _BODYPARTS, _COORDS = 'scorer', 'individuals', 'bodyparts', 'coords'
#: individual that has the body parts which exist once, such as corners of a box
_UNIQUE = 'single'
_ANIMAL = 'animal'


def read_deeplabcut(
    path: Path, images: Path | None, given: Sequence[str] | None
) -> LabelledDataset:
    """Read the labels of a video of a DeepLabCut project.

    A keypoint with coordinates is visible; an empty cell or NaN is not labelled.

    Args:
        path: The `.csv` or `.h5` file. Beside it are the images, and two folders above it the
            project's `config.yaml`, whose skeleton is used.
        images: Folder of the images, or of the project; None: that of the file.
        given: Names of the keypoints, in order; None: the body parts in the order of the file.

    Raises:
        DatasetError: If the file is not valid. The message contains file, line and value.
    """
    table = _read_hdf(path) if path.suffix == '.h5' else _read_csv(path)
    header, columns, rows = table
    found: list[str] = []
    unique: list[str] = []
    for individual, part, _ in columns:
        listed = unique if individual == _UNIQUE else found
        if part not in listed:
            listed.append(part)
    if not found:  # a project with unique body parts only
        found, unique = unique, []
    names = choose_names(found, given, str(path))
    dataset = LabelledDataset(names, [], categories=[_ANIMAL])
    if unique:
        dataset.notes.append(
            f'{path}: {list_names(unique)} are left out: they do not belong to an animal'
        )
    dataset.skeleton, notes = _skeleton(path, names)
    dataset.notes += notes
    folders = [images] if images is not None else [path.parent]
    for where, name, cells in rows:
        if len(cells) != len(columns):
            raise DatasetError(
                f'{where}: {len(cells)} coordinates: expected {len(columns)}, as in the header '
                f'({header})'
            )
        file = find_image(name, folders, where)
        objects: dict[str, LabelledObject] = {}
        for number in range(0, len(columns), 2):
            individual, part, _ = columns[number]
            if part not in names or (unique and individual == _UNIQUE):
                continue
            item = objects.setdefault(
                individual, LabelledObject([MISSING] * len(names), where, _ANIMAL)
            )
            item.points[names.index(part)] = _point(cells[number : number + 2], where, part)
        labelled = [item for item in objects.values() if any(v for _, _, v in item.points)]
        dataset.images.append(LabelledImage(labelled, where, file))
    return dataset


def _point(cells: Sequence[object], where: str, part: str) -> Point:
    """Return a keypoint of two cells, which are empty or NaN if it is not labelled."""
    empty = [_is_empty(cell) for cell in cells]
    if all(empty):
        return MISSING
    if any(empty):
        raise DatasetError(
            f'{where}: the keypoint {shown(part)} has x {shown(cells[0])} and y {shown(cells[1])}: '
            'expected two numbers, or two empty cells'
        )
    x, y = (finite(cell, where, f'a coordinate of {part}') for cell in cells)
    return x, y, VISIBLE


def _is_empty(cell: object) -> bool:
    if isinstance(cell, str):
        return cell.strip().lower() in ('', 'nan')
    return isinstance(cell, float) and math.isnan(cell)


def _check_columns(path: Path, columns: list[tuple[str, str, str]]) -> None:
    """Check that the columns are x and y of each body part."""
    coords = [coord for _, _, coord in columns]
    if not coords or coords != ['x', 'y'] * (len(coords) // 2):
        hint = ', of labels and not of predictions' if 'likelihood' in coords else ''
        raise DatasetError(
            f'{path}: the row {_COORDS} of the header is {shown(coords)}: expected x and y of each '
            f'body part{hint}'
        )
    pairs = [column[:2] for column in columns[::2]]
    if pairs != [column[:2] for column in columns[1::2]] or len(set(pairs)) < len(pairs):
        raise DatasetError(f'{path}: the header repeats or mixes body parts: {shown(pairs)}')


def _read_csv(path: Path) -> tuple[str, list[tuple[str, str, str]], list[tuple[str, str, list]]]:
    """Return the names of the header rows, the columns, and line, image and cells of each row."""
    text = read_text(path, 'labels').splitlines()
    try:
        lines = [(number, row) for number, row in enumerate(csv.reader(text), 1) if row]
    except csv.Error as error:
        raise DatasetError(f'{path} is not a table in CSV: {error}') from error
    header: dict[str, list[str]] = {}
    while lines and lines[0][1][0] in (_SCORER, _INDIVIDUALS, _BODYPARTS, _COORDS):
        header[lines[0][1][0]] = lines[0][1][1:]
        del lines[0]
    expected = [_SCORER, _BODYPARTS, _COORDS]
    if [name for name in header if name != _INDIVIDUALS] != expected:
        raise DatasetError(
            f'{path}: the header has the rows {list_names(header) or "none"}: expected '
            f'{", ".join(expected)}, as in CollectedData_*.csv of DeepLabCut'
        )
    coords = header[_COORDS]
    more = next((index for index, cell in enumerate(coords) if cell), 0)  # cells of the path
    columns = list(
        zip(header.get(_INDIVIDUALS, [_ANIMAL] * len(coords)), header[_BODYPARTS], coords)
    )[more:]
    _check_columns(path, columns)
    rows = [
        (f'{path}:{number}', '/'.join(row[: more + 1]), list(row[more + 1 :]))
        for number, row in lines
    ]
    return ', '.join(header), columns, rows


def _read_hdf(path: Path) -> tuple[str, list[tuple[str, str, str]], list[tuple[str, str, list]]]:
    """Return the content of an HDF5 file, see `_read_csv`."""
    pandas = import_package('pandas', path)
    import_package('tables', path)
    check_regular_file(path, 'labels')
    try:
        table: Any = pandas.read_hdf(path)
    except Exception as error:  # PyTables and pandas raise errors of many types
        raise DatasetError(
            f'cannot read the labels {path}: {first_line(error)}; DeepLabCut writes a .csv file '
            'with the same labels'
        ) from error
    levels = list(getattr(table, 'columns', pandas.Index([])).names)
    if levels not in ([_SCORER, _BODYPARTS, _COORDS], [_SCORER, _INDIVIDUALS, _BODYPARTS, _COORDS]):
        raise DatasetError(
            f'{path}: the columns have the levels {levels}: expected {_SCORER}, {_BODYPARTS} and '
            f'{_COORDS}, as in CollectedData_*.h5 of DeepLabCut'
        )
    individuals = _INDIVIDUALS in levels
    columns = [
        (str(column[1]) if individuals else _ANIMAL, str(column[-2]), str(column[-1]))
        for column in table.columns
    ]
    _check_columns(path, columns)
    rows = [
        (
            f'{path}, row {number}',
            '/'.join(map(str, key)) if isinstance(key, tuple) else str(key),
            values,
        )
        for number, (key, values) in enumerate(zip(table.index, table.to_numpy().tolist()), 1)
    ]
    return ', '.join(levels), columns, rows


def _skeleton(path: Path, names: tuple[str, ...]) -> tuple[list[tuple[int, int]], list[str]]:
    """Return the limbs of the project's `config.yaml`, if it exists, and notes."""
    config = path.parent.parent.parent / 'config.yaml'
    if not config.is_file():
        return [], []
    content = read_yaml(config)
    limbs = content.get('skeleton') or []
    if not isinstance(limbs, list):
        raise DatasetError(f'{config}: skeleton is {shown(limbs)}: expected pairs of body parts')
    pairs = [tuple(limb) for limb in limbs if isinstance(limb, list) and len(limb) == 2]
    known = [(names.index(a), names.index(b)) for a, b in pairs if a in names and b in names]
    if len(known) == len(limbs):
        return known, []
    # New projects contain a skeleton of names that do not exist.
    return known, [f'{config}: {len(limbs) - len(known)} limbs of unknown body parts are left out']


def label_files(config: Path) -> list[Path]:
    """Return the files with the labels of a project, one for each video.

    Args:
        config: The project's `config.yaml`.

    Raises:
        DatasetError: If there are none.
    """
    folder = config.parent / 'labeled-data'
    files = sorted(folder.glob('*/CollectedData_*.csv'))
    others = sorted(folder.glob('*/CollectedData_*.h5'))
    files += [file for file in others if file.with_suffix('.csv') not in files]
    if not files:
        raise DatasetError(f'{config}: there is no {folder}/*/CollectedData_*.csv')
    return sorted(files)
