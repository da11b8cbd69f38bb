"""Recognize the format of an export of an annotation tool, and read it."""

from collections.abc import Sequence
from pathlib import Path

from ...errors import DatasetError, list_names, shown
from ...utils.files import check_regular_file
from ..coco import CocoFile
from .cvat import read_coco, read_cvat_xml
from .deeplabcut import label_files, read_deeplabcut
from .extra import import_package
from .label_studio import read_label_studio
from .labelled import LabelledDataset, combine, read_yaml
from .lsp import read_lsp
from .sleap import read_sleap
from .yolo import read_yolo

_EXPECTED = (
    "data.yaml of a YOLO pose dataset, the export JSON of Label Studio, CVAT's annotations.xml or "
    "COCO keypoints, config.yaml or CollectedData_*.csv of DeepLabCut, SLEAP's .slp or .h5, or "
    'joints.mat of LSP'
)
#: files that are looked for in a folder
_IN_FOLDER = (
    'data.yaml',
    'config.yaml',
    'annotations.xml',
    'annotations/person_keypoints_*.json',
    'CollectedData_*.csv',
    '*.slp',
    'joints.mat',
)


def read_export(
    sources: Sequence[str | Path],
    images: str | Path | None = None,
    names: Sequence[str] | None = None,
) -> LabelledDataset:
    """Read an export of an annotation tool, whose format is recognized by its content.

    Args:
        sources: The files, all with the same keypoints, or a folder of a known layout.
        images: Folder of the images, if they are not where the tool puts them.
        names: Names of the keypoints; required by formats without names, and sets the order of
            others.

    Returns:
        The images and their instances; the values of the instances are not compared with the
        images.

    Raises:
        DatasetError: If a file is not valid.
        ConfigError: If a package is missing.
    """
    folder = None if images is None else Path(images)
    if folder is not None and not folder.is_dir():
        raise DatasetError(f'--images {folder}: there is no such folder')
    paths = [path for source in sources for path in _files(Path(source))]
    return combine([_read(path, folder, names) for path in paths], paths)


def _files(path: Path) -> list[Path]:
    """Return the files with the labels of a folder or project."""
    if path.is_dir():
        patterns = [(pattern, sorted(path.glob(pattern))) for pattern in _IN_FOLDER]
        found = next((files for _, files in patterns if files), None)
        if found is None:
            raise DatasetError(
                f'{path} has none of {list_names(_IN_FOLDER)}: expected the folder of an export, '
                'or its file'
            )
        return [file for path in found for file in _files(path)]
    if path.suffix in ('.yaml', '.yml'):
        content = read_yaml(path)
        if 'kpt_shape' not in content and ('bodyparts' in content or 'scorer' in content):
            return label_files(path)
    return [path]


def _read(path: Path, images: Path | None, names: Sequence[str] | None) -> LabelledDataset:
    """Read a file."""
    suffix = path.suffix.lower()
    if suffix in ('.yaml', '.yml'):
        return read_yolo(path, read_yaml(path), images, names)
    if suffix == '.json':
        file = CocoFile(path)
        if isinstance(file.content, list):
            return read_label_studio(path, file.content, images, names)
        return read_coco(path, file, images, names)
    if suffix == '.xml':
        return read_cvat_xml(path, images, names)
    if suffix == '.csv' or (suffix == '.h5' and not _is_analysis(path)):
        return read_deeplabcut(path, images, names)
    if suffix in ('.slp', '.h5'):
        return read_sleap(path, images, names)
    if suffix == '.mat':
        return read_lsp(path, images, names)
    check_regular_file(path)
    raise DatasetError(f'{path} has the suffix {shown(path.suffix)}: expected {_EXPECTED}')


def _is_analysis(path: Path) -> bool:
    """Return whether an HDF5 file is an analysis file of SLEAP."""
    h5py = import_package('h5py', path)
    check_regular_file(path, 'labels')
    try:
        with h5py.File(path) as file:
            return {'tracks', 'node_names'} <= set(file)
    except OSError as error:
        raise DatasetError(f'{path} is not an HDF5 file: {error}') from error
