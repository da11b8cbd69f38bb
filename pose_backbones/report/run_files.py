"""Find the files of a test run, and the settings in its config.

A config that is found beside results is parsed as data: neither the config nor a file that it names
is executed. A config that the user names is loaded like in all tools, which executes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .._compat.metainfo import shipped_metainfo
from ..configs import load_config
from ..errors import ConfigError, DatasetError, first_line
from ..structures.metainfo import read_metainfo
from ..utils.files import check_regular_file, file_problem, read_text
from ..utils.literals import read_assignments

_SUFFIX = '.keypoints.json'
_HOW = 'tools/test.py writes it with --cfg-options test_evaluator.outfile_prefix=DIR/predictions'


@dataclass(frozen=True)
class Sources:
    """The files of a test run, and the settings of its evaluation.

    Args:
        results: Predictions in COCO's results format.
        annotations: Annotations in COCO's format.
        images: Folder of the images; None: the report shows no images.
        logs: Folder that may contain training logs.
        metainfo: Parsed dataset description; None: not known from the config.
        metainfo_origin: Where the description is from, as text.
        iou_type, use_area: Arguments of the metric; None: not known from the config.
    """

    results: Path
    annotations: Path
    images: Path | None
    logs: Path | None
    metainfo: Mapping | None = None
    metainfo_origin: str = ''
    iou_type: str | None = None
    use_area: bool | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read."""
        return self.results, self.annotations


def find_sources(
    results: str,
    annotations: str | None = None,
    images: str | None = None,
    logs: str | None = None,
    metainfo: str | None = None,
    config: str | None = None,
) -> Sources:
    """Find the files of a test run.

    Args:
        results: A results file, or the work dir of a test or training run that contains one. What
            is not given is taken from the config in the work dir or, without `annotations`, from
            the config beside the results file. This config is parsed and not executed.
        annotations, images, logs: Files and folders that replace those of the config.
        metainfo: Dataset description, a `.py` file, which is executed.
        config: Config of the test, which is executed, in place of the one that is found.

    Returns:
        Existing files.

    Raises:
        ConfigError: If the annotations or the results cannot be found.
        DatasetError: If a given file or folder does not exist.
    """
    place = Path(results)
    if not place.exists():
        raise DatasetError(
            f'{results} is not there: expected a file of keypoints in '
            f"COCO's results format, or the work dir of a test; {_HOW}"
        )
    folder = place if place.is_dir() else place.parent
    content: Mapping = {}
    if config is not None:
        content = load_config(config).to_dict()
    elif place.is_dir() or annotations is None:
        content = _find_config(folder)
    known = _from_config(content, config is not None)
    if place.is_dir():
        place = _find_results(folder, content)
    check_regular_file(place, 'results')
    if metainfo is not None:
        known['metainfo'] = read_metainfo(metainfo, '--metainfo')
        known['metainfo_origin'] = metainfo
    said = {name: known.pop(name, None) for name in ('annotations', 'images')}
    if annotations is not None:  # may be of other images
        said['images'] = None
    return Sources(
        results=place,
        logs=_logs(logs, folder),
        annotations=_annotations(annotations, said['annotations'], folder),
        images=_images(images, said['images']),
        **known,
    )


def _annotations(given: str | None, known: str | None, folder: Path) -> Path:
    found = given or known
    if found is None:
        raise ConfigError(
            f'no annotations: expected --ann FILE, or the config of the test in {folder}'
        )
    problem = file_problem(found)
    if problem is not None:
        advice = '' if given else (' (said by the config): give the file with --ann')
        if Path(found).exists():
            raise DatasetError(f'cannot read the annotations {found}: {problem}{advice}')
        raise DatasetError(f'the annotations {found} are not there{advice}')
    return Path(found)


def _images(given: str | None, known: str | None) -> Path | None:
    if given is not None and not Path(given).is_dir():
        raise DatasetError(f'--images {given}: there is no such folder')
    if given is None and (known is None or not Path(known).is_dir()):
        return None
    return Path(given or known)


def _logs(given: str | None, folder: Path) -> Path | None:
    """Get the given folder, else the work dir or, for a test, its parent, if it has logs."""
    if given is not None:
        if not Path(given).is_dir():
            raise DatasetError(f'--logs {given}: there is no such folder')
        return Path(given)
    places = [folder]
    if folder.absolute().name == 'test':
        places.append(folder.absolute().parent)
    for place in places:
        for file in place.glob('*/vis_data/scalars.json'):
            if '"loss"' in _text(file):
                return place
    return None


def _find_config(folder: Path) -> dict:
    """Parse the config of the test that a run has left in its work dir."""
    for place in (folder / 'test', folder):
        for pattern in ('*.py', '*/vis_data/config.py'):
            files = sorted(
                (file for file in place.glob(pattern) if file_problem(file) is None),
                key=lambda file: file.stat().st_mtime,
            )
            for file in reversed(files):
                if 'test_evaluator' in _text(file):
                    return _read_config(file)
    return {}


def _read_config(file: Path) -> dict:
    found = read_assignments(file)
    if 'test_evaluator' not in found:
        raise ConfigError(
            f'config unreadable: {file} does not give test_evaluator as a '
            'plain value, and its Python is not run: give it with --config, '
            'or the annotations with --ann'
        )
    return found


def _text(file: Path) -> str:
    """Read a file that may be binary; empty if it is not a regular file."""
    if file_problem(file) is not None:
        return ''
    return read_text(file, errors='replace')


def _find_results(folder: Path, config: Mapping) -> Path:
    for metric in _metrics(config):
        named = Path(f'{metric.get("outfile_prefix")}{_SUFFIX}')
        if named.is_file():
            return named
    found = sorted(folder.glob(f'*{_SUFFIX}'))
    if len(found) != 1:
        names = ', '.join(file.name for file in found)
        raise ConfigError(
            f'{folder} has '
            + (
                f'several results ({names}): give one of them'
                if found
                else f'no results, *{_SUFFIX}: {_HOW}'
            )
        )
    return found[0]


def _metrics(config: Mapping) -> list[Mapping]:
    """Get the metrics of the evaluator that are COCO's."""
    found = config.get('test_evaluator') or []
    found = found if isinstance(found, (list, tuple)) else [found]
    return [
        metric
        for metric in found
        if isinstance(metric, Mapping) and str(metric.get('type')).endswith('CocoMetric')
    ]


def _dict(parent: Mapping, key: str) -> Mapping:
    """Get an entry that is a dict, else an empty dict."""
    found = parent.get(key)
    return found if isinstance(found, Mapping) else {}


def _name(parent: Mapping, key: str) -> str:
    """Get an entry that is a string, else an empty string."""
    found = parent.get(key)
    return found if isinstance(found, str) and '\0' not in found else ''


def _from_config(config: Mapping, trusted: bool) -> dict:
    """Get the fields of `Sources` that the config of a test has.

    Args:
        config: Content of the config.
        trusted: Whether files that it names may be executed.
    """
    dataset = _dict(_dict(config, 'test_dataloader'), 'dataset')
    known = {}
    root = Path(_name(dataset, 'data_root'))
    prefix = _dict(dataset, 'data_prefix')
    if isinstance(prefix.get('img'), str):
        known['images'] = str(root / _name(prefix, 'img'))
    if _name(dataset, 'ann_file'):
        known['annotations'] = str(root / dataset['ann_file'])
    for metric in _metrics(config):
        if _name(metric, 'ann_file'):
            known['annotations'] = metric['ann_file']
        known['iou_type'] = metric.get('iou_type', 'keypoints')
        known['use_area'] = metric.get('use_area', True)
    parsed = _metainfo_of(dataset, trusted)
    if parsed is not None:
        known['metainfo'] = parsed
        known['metainfo_origin'] = f'{dataset["type"]} of the config'
    return known


def _metainfo_of(dataset: Mapping, trusted: bool) -> dict | None:
    """Get the dataset description from the class of the data set or the file in its config."""
    from mmpose.registry import DATASETS

    name = _name(dataset, 'type').rpartition('.')[2]
    # Not `DATASETS.get`, which imports the module in a name with dots.
    kind = DATASETS.module_dict.get(name)
    # Whole-body results and annotations have the keypoints of the body in a field of their own.
    if not hasattr(kind, '_load_metainfo') or 'WholeBody' in name:
        return None
    given = _dict(dataset, 'metainfo') or kind.METAINFO
    file = given.get('from_file')
    try:
        if isinstance(file, str):
            given = file if trusted else _described(file)
        return read_metainfo(given) if given else None
    except Exception as error:  # of any malformed description
        raise ConfigError(
            f'the config describes its keypoints ({file or "metainfo"}) in '
            f'a way that cannot be read: {first_line(error)}: give the '
            'description with --metainfo, or the config with --config'
        ) from error


def _described(file: str) -> Path | dict:
    """A description that an untrusted config names.

    Returns:
        The file of this name that MMPose ships; or the content of `file`, read as data.
    """
    folder, _, name = file.rpartition('/')
    shipped = shipped_metainfo(name)
    if folder == 'configs/_base_/datasets' and shipped.is_file():
        return shipped
    return read_assignments(file)['dataset_info']
