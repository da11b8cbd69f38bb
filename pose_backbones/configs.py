"""Find, load and inspect config files."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

from .errors import ConfigError, DatasetError, PoseBackbonesError, closest

if TYPE_CHECKING:
    from mmengine.registry import Registry

_PREFIX = 'pose_backbones::'


def config_folder() -> Path:
    """Return the directory of the configs that are shipped with the package."""
    return Path(__file__).parent / '.mim' / 'configs'


def resolve(name: object) -> str | None:
    """Return the path of a config whose name has the prefix `pose_backbones::`.

    Args:
        name: Anything that `Config.fromfile` or `_base_` accepts.

    Returns:
        The path of the file, or None for a name without the prefix.

    Raises:
        FileNotFoundError: If the package has no such config. The message suggests similar names.
    """
    if not str(name).startswith(_PREFIX):
        return None
    path = config_folder() / str(name)[len(_PREFIX) :]
    if not path.is_file():
        shipped = {
            file.name: _PREFIX + str(file.relative_to(config_folder()))
            for file in config_folder().glob('*/*.py')
        }
        raise FileNotFoundError(f'{name}{closest(path.name, shipped)}')
    return str(path)


def load_config(path: str) -> Config:
    """Load a config file.

    Args:
        path: A `.py`, `.yml` or `.json` file, or the name of a config that is shipped with the
            package, such as `pose_backbones::moganet/….py`.

    Returns:
        The config, merged with its base configs.

    Raises:
        ConfigError: If the file does not exist (the message suggests similar names) or cannot be
            read.
    """
    try:
        path = resolve(path) or path
    except FileNotFoundError as error:
        raise ConfigError(f'config not found: {error}') from error
    if not Path(path).is_file():
        raise ConfigError(f'config not found: {path}{_similar(path)}')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:
        cause = (_missing_module(error) if isinstance(error, ImportError) else None) or error
        reason = str(cause).strip().split('\n')[0]
        raise ConfigError(
            f'config unreadable: {path} ({type(cause).__name__}: {reason})'
        ) from error
    _use_mmpretrain(cfg)
    return cfg


def _use_mmpretrain(cfg: Config) -> None:
    """Replace a vision transformer of mmcls by the same one of mmpretrain, its successor, in place.

    MMPose's ViTPose-L and H of Human-Art have the former, and those of COCO the latter.
    """
    model = cfg.get('model')
    backbone = model.get('backbone') if isinstance(model, Mapping) else None
    if not isinstance(backbone, dict) or backbone.get('type') != 'mmcls.VisionTransformer':
        return
    if backbone.get('output_cls_token', True) or backbone.get('avg_token'):
        return  # other outputs, which no config of MMPose has: its type is reported as unknown
    backbone.pop('avg_token', None)
    del backbone['output_cls_token']
    backbone.update(type='mmpretrain.VisionTransformer', out_type='featmap')


def _missing_module(error: BaseException | None) -> ModuleNotFoundError | None:
    """Return the error that names the missing module behind MMEngine's error, or None."""
    while error is not None and not isinstance(error, ModuleNotFoundError):
        error = error.__cause__ or error.__context__
    return error


def _similar(path: str) -> str:
    """Suggest configs with a similar file name in the same directory or in `configs/`."""
    name = Path(path).name
    for files in (Path(path).parent.glob('*.py'), Path('configs').glob('*/*.py')):
        near = closest(name, {file.name: str(file) for file in files})
        if near:
            return near
    return ''


@contextmanager
def building(cfg: Config) -> Iterator[None]:
    """Convert exceptions that are raised while objects are built from a config to `ConfigError`.

    Args:
        cfg: The config that is being built.

    Raises:
        ConfigError: With the file name of the config and the message of the original exception.
    """
    try:
        yield
    except PoseBackbonesError:
        raise
    except (ArithmeticError, AttributeError, ImportError, TypeError, ValueError) as error:
        raise ConfigError(f'{cfg.filename} cannot be built: {error}') from error
    except FileNotFoundError as error:
        reason = f'{error.filename}: {error.strerror}' if error.filename else str(error)
        raise ConfigError(f'{cfg.filename} cannot be built: {reason}') from error
    except (AssertionError, LookupError) as error:  # the message alone is not clear
        reason = f'{type(error).__name__}: {error}'.removesuffix(': ')
        raise ConfigError(f'{cfg.filename} cannot be built: {reason}') from error
    except RuntimeError as error:
        # Others are not errors of the config, such as the loss of another process of the run.
        if not isinstance(error, NotImplementedError) and 'not installed' not in str(error):
            raise
        raise ConfigError(f'{cfg.filename} cannot be built: {error}') from error


def as_list(value: Any) -> list[Any]:
    """Return a config entry as a list; the entry may be None, a single value, a list or a tuple."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def find_datasets(cfg: Config, split: str) -> Iterator[tuple[str, Mapping]]:
    """Find the datasets of a split: that of its data loader, and those in wrappers.

    Args:
        cfg: A config.
        split: `'train'`, `'val'` or `'test'`.

    Yields:
        The name in the config and the config of each dataset. Wrappers, such as `CombinedDataset`
        and `RepeatDataset`, are included, before the datasets in them.

    Raises:
        DatasetError: If a wrapper has an empty list of datasets.
    """
    dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
    return _nested_datasets(dataset, f'{split}_dataloader.dataset')


def _nested_datasets(dataset: Any, place: str) -> Iterator[tuple[str, Mapping]]:
    if not isinstance(dataset, Mapping):
        return
    if 'datasets' in dataset and not dataset['datasets']:
        raise DatasetError(f'{place}.datasets is empty: expected at least one dataset')
    yield place, dataset
    yield from _nested_datasets(dataset.get('dataset'), f'{place}.dataset')
    for index, part in enumerate(as_list(dataset.get('datasets'))):
        yield from _nested_datasets(part, f'{place}.datasets[{index}]')


def type_name(part: Mapping) -> str:
    """Return the name of the type of a config entry, without a registry or module.

    Args:
        part: A dict whose `type` is a name, such as `'mmpose.CocoMetric'`, or, in configs that
            import their types, a class.

    Returns:
        The name, such as `'CocoMetric'`. An empty string if there is no type.
    """
    kind = part.get('type') or ''
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    return name.rpartition('.')[2]


def loads_checkpoint(init_cfg: object) -> bool:
    """Return whether an `init_cfg` has the type `'Pretrained'`, or its class `PretrainedInit`."""
    return isinstance(init_cfg, Mapping) and type_name(init_cfg) in ('Pretrained', 'PretrainedInit')


def find_class(part: Mapping, registry: 'Registry') -> Any:
    """Return the class that the type of a config entry stands for.

    Args:
        part: A dict whose `type` is a name or, in configs that import their types, a class.
        registry: Registry in which a name is looked up.

    Returns:
        The class, or the function that builds the object. None if there is no type, or if the name
        is not registered.
    """
    kind = part.get('type')
    return registry.get(kind) if isinstance(kind, str) else kind


def strings_of(value: Any) -> Iterator[str]:
    """Iterate over all strings in a config entry, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings_of(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from strings_of(item)


def dicts_in(value: Any) -> Iterator[dict]:
    """Iterate over all dicts in a config entry, at any depth, and the entry itself."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else ():
        yield from dicts_in(item)
    for item in value if isinstance(value, (list, tuple)) else ():
        yield from dicts_in(item)


def test_dataset(cfg: Config) -> dict:
    """Return the test dataset of a config.

    Args:
        cfg: Config of a model.

    Returns:
        The settings of the dataset, with `pipeline` and, for MMPose datasets, `data_mode`.

    Raises:
        ConfigError: If there is no test dataset with a pipeline.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    while 'dataset' in dataset:  # a wrapper such as RepeatDataset
        dataset = dataset['dataset']
    if 'pipeline' not in dataset and dataset.get('datasets'):
        dataset = dataset['datasets'][0]
    if 'pipeline' not in dataset:
        raise ConfigError(
            f'{cfg.filename or "the config"} has no '
            'test_dataloader.dataset.pipeline: expected the transforms that '
            'prepare an image for the model'
        )
    return dataset
