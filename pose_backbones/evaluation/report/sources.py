"""Where the files of a test run are, and what its config says."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ...utils.config import load_config
from ...utils.errors import ConfigError, DatasetError

_SUFFIX = '.keypoints.json'
_HOW = ('tools/test.py writes it with --cfg-options '
        'test_evaluator.outfile_prefix=DIR/predictions')


@dataclass(frozen=True)
class Sources:
    """Files of a test run, and how it was evaluated.

    Args:
        results: Key points in COCO's results format.
        annotations: COCO's annotations.
        images: Folder of the images; None: there are no pictures.
        logs: Folder in which there may be training logs.
        metainfo: MMPose's description of the key points, parsed; None:
            not known from the config.
        metainfo_origin: Where it is from.
        iou_type: Of the evaluation; None: not known from the config.
        use_area: Of the evaluation; None: not known from the config.
    """

    results: Path
    annotations: Path
    images: Path | None
    logs: Path | None
    metainfo: Mapping | None = None
    metainfo_origin: str = ''
    iou_type: str | None = None
    use_area: bool | None = None


def find_sources(results: str,
                 annotations: str | None = None,
                 images: str | None = None,
                 logs: str | None = None,
                 metainfo: str | None = None) -> Sources:
    """Find the files of a test run.

    Args:
        results: A results file, or the work dir of a test or training run
            that has one. A work dir's config says what is not given, and
            for a file without `annotations`, that beside the file does.
        annotations, images, logs: Files and folders in place of the
            config's.
        metainfo: MMPose's description of the key points, a `.py` file.

    Returns:
        The files, which are there.

    Raises:
        ConfigError: If the annotations or the results are not to be found.
        DatasetError: If a file or folder that was named is not there.
    """
    place = Path(results)
    if not place.exists():
        raise DatasetError(
            f'{results} is not there: expected a file of key points in '
            f"COCO's results format, or the work dir of a test; {_HOW}")
    folder = place if place.is_dir() else place.parent
    config = None
    if place.is_dir() or annotations is None:
        config = _find_config(folder)
    known = _from_config(config) if config is not None else {}
    if place.is_dir():
        place = _find_results(folder, config)
    if metainfo is not None:
        known['metainfo'] = _read_metainfo(metainfo)
        known['metainfo_origin'] = metainfo
    said = {name: known.pop(name, None) for name in ('annotations', 'images')}
    if annotations is not None:  # of other images, perhaps
        said['images'] = None
    return Sources(
        results=place, logs=_logs(logs, folder),
        annotations=_annotations(annotations, said['annotations'], folder),
        images=_images(images, said['images']), **known)


def _annotations(given: str | None, known: str | None,
                 folder: Path) -> Path:
    found = given or known
    if found is None:
        raise ConfigError(
            f'no annotations: expected --ann FILE, or the config of the test '
            f'in {folder}')
    if not Path(found).is_file():
        advice = '' if given else (
            ' (said by the config): give the file with --ann')
        raise DatasetError(f'the annotations {found} are not there{advice}')
    return Path(found)


def _images(given: str | None, known: str | None) -> Path | None:
    if given is not None and not Path(given).is_dir():
        raise DatasetError(f'--images {given}: there is no such folder')
    if given is None and (known is None or not Path(known).is_dir()):
        return None
    return Path(given or known)


def _logs(given: str | None, folder: Path) -> Path | None:
    """The folder given; the work dir; or that above a test's."""
    if given is not None:
        if not Path(given).is_dir():
            raise DatasetError(f'--logs {given}: there is no such folder')
        return Path(given)
    places = [folder]
    if folder.absolute().name == 'test':
        places.append(folder.absolute().parent)
    for place in places:
        for file in place.glob('*/vis_data/scalars.json'):
            if '"loss"' in file.read_text(encoding='utf-8'):
                return place
    return None


def _find_config(folder: Path) -> Config | None:
    """That of the test, which a run leaves in its work dir."""
    for place in (folder / 'test', folder):
        for pattern in ('*.py', '*/vis_data/config.py'):
            files = sorted(place.glob(pattern),
                           key=lambda file: file.stat().st_mtime)
            for file in reversed(files):
                if 'test_evaluator' in file.read_text(encoding='utf-8'):
                    return load_config(str(file))
    return None


def _find_results(folder: Path, config: Config | None) -> Path:
    for metric in _metrics(config):
        named = Path(f'{metric.get("outfile_prefix")}{_SUFFIX}')
        if named.is_file():
            return named
    found = sorted(folder.glob(f'*{_SUFFIX}'))
    if len(found) != 1:
        names = ', '.join(file.name for file in found)
        raise ConfigError(
            f'{folder} has ' + (f'several results ({names}): give one of '
                                'them' if found else
                                f'no results, *{_SUFFIX}: {_HOW}'))
    return found[0]


def _metrics(config: Config | None) -> list[Mapping]:
    """Of the evaluator, those that measure key points as COCO does."""
    found = (config or {}).get('test_evaluator') or []
    found = found if isinstance(found, (list, tuple)) else [found]
    return [metric for metric in found
            if str(metric.get('type')).endswith('CocoMetric')]


def _from_config(config: Config) -> dict:
    """What the config of a test says, as far as it does."""
    dataset = (config.get('test_dataloader') or {}).get('dataset') or {}
    known = {}
    root = Path(dataset.get('data_root') or '')
    prefix = (dataset.get('data_prefix') or {}).get('img')
    if prefix is not None:
        known['images'] = str(root / prefix)
    if dataset.get('ann_file'):
        known['annotations'] = str(root / dataset['ann_file'])
    for metric in _metrics(config):
        if metric.get('ann_file'):
            known['annotations'] = metric['ann_file']
        known['iou_type'] = metric.get('iou_type', 'keypoints')
        known['use_area'] = metric.get('use_area', True)
    parsed = _metainfo_of(dataset)
    if parsed is not None:
        known['metainfo'] = parsed
        known['metainfo_origin'] = f'{dataset["type"]} of the config'
    return known


def _metainfo_of(dataset: Mapping) -> dict | None:
    from mmpose.registry import DATASETS
    name = str(dataset.get('type'))
    kind = DATASETS.get(name)
    # Of a whole body, results have the body apart, as annotations do.
    if not hasattr(kind, '_load_metainfo') or 'WholeBody' in name:
        return None
    with warnings.catch_warnings():  # of where it finds its own file
        warnings.filterwarnings('ignore', 'The metainfo config file')
        return kind._load_metainfo(dataset.get('metainfo'))


def _read_metainfo(path: str) -> dict:
    from mmpose.datasets.datasets.utils import parse_pose_metainfo
    try:
        return parse_pose_metainfo(dict(from_file=path))
    except (OSError, AssertionError, AttributeError, KeyError,
            SyntaxError) as error:
        raise DatasetError(
            f'--metainfo {path} is no description of a data set, as '
            f'tools/make_dataset_info.py writes one: {error}') from error
