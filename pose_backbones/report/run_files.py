"""Find the files of a test run, and the settings in its config.

A config that is found next to the results is parsed as data: neither the config nor a file that it
refers to is executed. A config that the user passes is loaded as in all tools, which executes it.
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
_HOW = 'run tools/test.py with --cfg-options test_evaluator.outfile_prefix=DIR/predictions'


@dataclass(frozen=True)
class Sources:
    """The files of a test run, and the settings of its evaluation.

    Args:
        results: Predictions in COCO's results format.
        annotations: Annotations in COCO's format.
        images: Directory of the images; None: the report shows no images.
        logs: Directory that may contain training logs.
        metainfo: Parsed metainfo of the dataset; None if it is not in the config.
        metainfo_origin: Description of the origin of the metainfo.
        iou_type: Argument of the metric; None if it is not in the config.
        use_area: Argument of the metric; None if it is not in the config.
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
        """The input files."""
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
        results: A results file, or the work directory of a test or training run that contains one.
            The config in the work directory, or, without `annotations`, next to the results file,
            provides the defaults of the other arguments. This config is parsed, not executed.
        annotations: Annotation file. Default: that of the config.
        images: Directory of the images. Default: that of the config.
        logs: Directory with training logs. Default: the work directory.
        metainfo: Metainfo of the dataset, a `.py` file, which is executed.
        config: Config of the test, which is executed. Default: the config that is found.

    Returns:
        The files, which exist.

    Raises:
        ConfigError: If the annotations or the results cannot be found.
        DatasetError: If a given file or directory does not exist.
    """
    place = Path(results)
    if not place.exists():
        raise DatasetError(
            f'{results} does not exist: expected a file of keypoints in '
            f"COCO's results format, or the work dir of a test; {_HOW}"
        )
    folder = place if place.is_dir() else place.parent
    content: Mapping = {}
    if config is not None:
        content = load_config(config).to_dict()
    elif place.is_dir() or annotations is None:
        content = _find_config(folder)
    settings = _from_config(content, config is not None)
    if place.is_dir():
        place = _find_results(folder, content)
    check_regular_file(place, 'results')
    if metainfo is not None:
        settings['metainfo'] = read_metainfo(metainfo, '--metainfo')
        settings['metainfo_origin'] = metainfo
    defaults = {name: settings.pop(name, None) for name in ('annotations', 'images')}
    if annotations is not None:  # may belong to other images
        defaults['images'] = None
    return Sources(
        results=place,
        logs=_logs(logs, folder),
        annotations=_annotations(annotations, defaults['annotations'], folder),
        images=_images(images, defaults['images']),
        **settings,
    )


def _annotations(given: str | None, default: str | None, folder: Path) -> Path:
    path = given or default
    if path is None:
        raise ConfigError(
            f'no annotations: expected --ann FILE, or the config of the test in {folder}'
        )
    problem = file_problem(path)
    if problem is not None:
        advice = '' if given else (' (from the config): pass the file with --ann')
        if Path(path).exists():
            raise DatasetError(f'cannot read the annotations {path}: {problem}{advice}')
        raise DatasetError(f'the annotations {path} do not exist{advice}')
    return Path(path)


def _images(given: str | None, default: str | None) -> Path | None:
    if given is not None and not Path(given).is_dir():
        raise DatasetError(f'--images {given}: there is no such directory')
    if given is None and (default is None or not Path(default).is_dir()):
        return None
    return Path(given or default)


def _logs(given: str | None, folder: Path) -> Path | None:
    """Return the given directory, or the work directory or a test's parent if it has logs."""
    if given is not None:
        if not Path(given).is_dir():
            raise DatasetError(f'--logs {given}: there is no such directory')
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
    """Parse the config of the test in the work directory of a run; newest first."""
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
    content = read_assignments(file)
    if 'test_evaluator' not in content:
        raise ConfigError(
            f'config unreadable: {file} does not define test_evaluator as a '
            'plain value, and its code is not executed: pass it with --config, '
            'or the annotations with --ann'
        )
    return content


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
    files = sorted(folder.glob(f'*{_SUFFIX}'))
    if len(files) != 1:
        names = ', '.join(file.name for file in files)
        raise ConfigError(
            f'{folder} has '
            + (
                f'several results ({names}): pass one of them'
                if files
                else f'no results, *{_SUFFIX}: {_HOW}'
            )
        )
    return files[0]


def _metrics(config: Mapping) -> list[Mapping]:
    """Return the evaluator's metrics of type CocoMetric."""
    metrics = config.get('test_evaluator') or []
    metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    return [
        metric
        for metric in metrics
        if isinstance(metric, Mapping) and str(metric.get('type')).endswith('CocoMetric')
    ]


def _dict(parent: Mapping, key: str) -> Mapping:
    """Return an entry if it is a dict, otherwise an empty dict."""
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}


def _name(parent: Mapping, key: str) -> str:
    """Return an entry if it is a valid path, otherwise an empty string."""
    value = parent.get(key)
    return value if isinstance(value, str) and '\0' not in value else ''


def _from_config(config: Mapping, trusted: bool) -> dict:
    """Return the fields of `Sources` that the config of a test defines.

    Args:
        config: Content of the config.
        trusted: Whether files that it refers to may be executed.
    """
    dataset = _dict(_dict(config, 'test_dataloader'), 'dataset')
    settings: dict = {}
    root = Path(_name(dataset, 'data_root'))
    prefix = _dict(dataset, 'data_prefix')
    if isinstance(prefix.get('img'), str):
        settings['images'] = str(root / _name(prefix, 'img'))
    if _name(dataset, 'ann_file'):
        settings['annotations'] = str(root / dataset['ann_file'])
    for metric in _metrics(config):
        if _name(metric, 'ann_file'):
            settings['annotations'] = metric['ann_file']
        settings['iou_type'] = metric.get('iou_type', 'keypoints')
        settings['use_area'] = metric.get('use_area', True)
    parsed = _metainfo_of(dataset, trusted)
    if parsed is not None:
        settings['metainfo'] = parsed
        settings['metainfo_origin'] = f'{dataset["type"]} of the config'
    return settings


def _metainfo_of(dataset: Mapping, trusted: bool) -> dict | None:
    """Return the metainfo of the dataset from its config or its class."""
    from mmpose.registry import DATASETS

    name = _name(dataset, 'type').rpartition('.')[2]
    # `DATASETS.get` would import modules from names with dots.
    kind = DATASETS.module_dict.get(name)
    # Whole-body results and annotations have a separate field for the keypoints of the body.
    if not hasattr(kind, '_load_metainfo') or 'WholeBody' in name:
        return None
    given = _dict(dataset, 'metainfo') or kind.METAINFO
    file = given.get('from_file')
    try:
        if isinstance(file, str):
            given = file if trusted else _read_untrusted(file)
        return read_metainfo(given) if given else None
    except Exception as error:  # malformed metainfo can raise exceptions of any type
        raise ConfigError(
            f'cannot read the metainfo of the config ({file or "metainfo"}): '
            f'{first_line(error)}: pass the metainfo with --metainfo, or the '
            'config with --config'
        ) from error


def _read_untrusted(file: str) -> Path | dict:
    """Return the metainfo file that an untrusted config refers to, without executing it.

    Returns:
        The file of this name that MMPose ships, or the content of `file`, parsed as data.
    """
    folder, _, name = file.rpartition('/')
    shipped = shipped_metainfo(name)
    if folder == 'configs/_base_/datasets' and shipped.is_file():
        return shipped
    return read_assignments(file)['dataset_info']
