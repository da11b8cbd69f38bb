"""What is looked at before a run starts, so that no work is lost in it."""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.fileio import load as load_file
from mmengine.registry import Registry
from mmpose import registry as host

from ..registry import MODELS, SCOPE, TRANSFORMS
from ..utils.errors import ConfigError, DatasetError, WorkDirError, closest
from .config import as_list, strings_of

_GET_DATA = (
    'Give the folder of the data set with --data-root. COCO 2017 is at '
    'https://cocodataset.org/#download (train2017, val2017, annotations, '
    'to stand in data/coco); a synthetic set is made by: '
    'python tools/make_synthetic_coco.py data/synthetic --train 2000 '
    '--val 200')
_GET_DETECTIONS = (
    'Detections of COCO val2017 are linked at https://mmpose.readthedocs.io/'
    'en/latest/dataset_zoo/2d_body_keypoint.html#coco; to use the boxes of '
    'the annotations instead: --cfg-options '
    "{split}_dataloader.dataset.bbox_file=''")


def check_types(cfg: Config) -> None:
    """Refuse names that are not registered: of the model and its codec, of
    data sets and metrics, of the optimizer, schedules and hooks.

    Args:
        cfg: A config.

    Raises:
        ConfigError: With the place, the name and the closest known names.
    """
    if cfg.get('model') is None:
        raise ConfigError(
            f"{cfg.filename} has no 'model': is it a config of a model?")
    for place, part in _model_parts(cfg.model, 'model'):
        check_type(part, place, host.MODELS, MODELS)
    head = cfg.model.get('head') or {}
    for key in ('decoder', 'encoder'):
        if head.get(key):
            check_type(head[key], f'model.head.{key}', host.KEYPOINT_CODECS)
    for split in ('train', 'val', 'test'):
        dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
        if dataset:
            place = f'{split}_dataloader.dataset'
            check_type(dataset, place, host.DATASETS)
            for number, step in enumerate(dataset.get('pipeline', [])):
                check_type(step, f'{place}.pipeline[{number}]',
                           host.TRANSFORMS, TRANSFORMS)
        for metric in as_list(cfg.get(f'{split}_evaluator')):
            if host.EVALUATORS.get(str(metric.get('type'))) is None:
                check_type(metric, f'{split}_evaluator', host.METRICS)
    _check_training_types(cfg)


def _check_training_types(cfg: Config) -> None:
    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper.get('type'):
        check_type(wrapper, 'optim_wrapper', host.OPTIM_WRAPPERS)
    if wrapper.get('optimizer'):
        check_type(wrapper.optimizer, 'optim_wrapper.optimizer',
                   host.OPTIMIZERS)
    if wrapper.get('constructor'):
        check_type(dict(type=wrapper.constructor),
                   'optim_wrapper.constructor',
                   host.OPTIM_WRAPPER_CONSTRUCTORS)
    for scheduler in as_list(cfg.get('param_scheduler')):
        check_type(scheduler, 'param_scheduler', host.PARAM_SCHEDULERS)
    hooks = cfg.get('default_hooks') or {}
    for name, hook in hooks.items():
        if hook:
            check_type(hook, f'default_hooks.{name}', host.HOOKS)
    for number, hook in enumerate(cfg.get('custom_hooks') or []):
        check_type(hook, f'custom_hooks[{number}]', host.HOOKS)


def _model_parts(model: dict, place: str) -> Iterator[tuple[str, dict]]:
    yield place, model
    for key in ('data_preprocessor', 'backbone', 'neck', 'head'):
        if model.get(key):
            yield f'{place}.{key}', model[key]


def check_type(part: dict,
               place: str,
               registry: Registry,
               ours: Registry | None = None) -> None:
    """Refuse a `type` that a registry does not have.

    Args:
        part: A dict of a config.
        place: Where it stands, for the message.
        registry: MMPose's registry of that kind.
        ours: This package's, whose names are suggested too.

    Raises:
        ConfigError: If the type is missing or unknown.
    """
    kind = part.get('type')
    if kind is None:
        raise ConfigError(f"{place} has no 'type'")
    if not isinstance(kind, str) or registry.get(kind) is not None:
        return
    shown = {}
    parent = registry
    while parent is not None:
        shown.update({name: name for name in parent.module_dict})
        parent = parent.parent
    if ours is not None:
        ours.import_from_location()
        shown.update({name: f'{SCOPE}.{name}' for name in ours.module_dict})
    what = registry.name.lower().replace('_', ' ').removesuffix('s')
    raise ConfigError(f'{place}: unknown {what} {kind!r}'
                      + closest(kind.rsplit('.', 1)[-1], shown))


def check_datasets(cfg: Config, splits: Sequence[str]) -> None:
    """Refuse a config whose data sets are not where it says.

    Args:
        cfg: A config.
        splits: Of `'train'`, `'val'`, `'test'`; those that will be used.

    Raises:
        DatasetError: With the missing path and how to get the data.
    """
    for split in splits:
        dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
        if not dataset or 'ann_file' not in dataset:
            continue
        root = Path(dataset.get('data_root') or '.')
        annotations = root / dataset.ann_file
        if not annotations.is_file():
            raise DatasetError(
                f'{split} annotations not found: {annotations}. {_GET_DATA}')
        for prefix in (dataset.get('data_prefix') or {}).values():
            if not (root / prefix).is_dir():
                raise DatasetError(
                    f'{split} images not found: there is no folder '
                    f'{root / prefix}. {_GET_DATA}')
        boxes = dataset.get('bbox_file')
        if boxes and not Path(boxes).is_file():
            raise DatasetError(
                f'{split} detections not found: {boxes}. '
                + _GET_DETECTIONS.format(split=split))
        if boxes:
            check_detections(boxes, str(annotations))
        for metric in as_list(cfg.get(f'{split}_evaluator')):
            truth = metric.get('ann_file')
            if split != 'train' and truth and not Path(truth).is_file():
                raise DatasetError(
                    f'ground truth of the {split} metric not found: {truth} '
                    f'({split}_evaluator.ann_file). {_GET_DATA}')


def check_keypoints(cfg: Config, dataset, split: str) -> None:
    """Refuse a data set whose key points are not those of the model.

    Args:
        cfg: The config.
        dataset: A data set that was built from it.
        split: Its name, for the message.

    Raises:
        DatasetError: If the numbers of key points differ.
    """
    declared = dataset.metainfo['num_keypoints']
    source = cfg[f'{split}_dataloader'].dataset
    where = f'{split} data ({source.get("ann_file", source.type)})'
    for number in range(min(len(dataset), 100)):
        person = dataset.get_data_info(number)
        found = np.shape(person.get('keypoints', ()))
        if len(found) > 1 and found[1] != declared:
            raise DatasetError(
                f'{where} has {found[1]} key points a person (annotation '
                f'{person.get("id")}), but '
                f'{type(dataset).__name__} has {declared}. Use the data set '
                'type, or a metainfo file, that describes these key points')
    head = cfg.model.get('head') or {}
    predicted = head.get('out_channels', head.get('num_keypoints'))
    decoder = head.get('decoder')
    if isinstance(decoder, dict) and decoder.get(
            'heatmap_type') == 'combined':
        predicted //= 3  # each point has a map and two of offsets
    if isinstance(predicted, int) and predicted != declared:
        raise DatasetError(
            f'the model predicts {predicted} key points (model.head), but '
            f'{where} has {declared}: set --cfg-options '
            f'model.head.out_channels={declared}')


def check_work_dir(cfg: Config, resume: bool, overwrite: bool) -> None:
    """Refuse to train into a folder whose earlier run would be lost.

    Args:
        cfg: A config with its `work_dir`.
        resume: Whether the earlier run is to be continued.
        overwrite: Whether it may be replaced.

    Raises:
        WorkDirError: If it holds checkpoints of another config's run, or of
            this one's and neither option is given.
    """
    folder = Path(cfg.work_dir)
    if folder.exists() and not folder.is_dir():
        raise WorkDirError(f'--work-dir: {folder} is a file, not a folder')
    checkpoints = sorted(folder.glob('*.pth'))
    if overwrite or not checkpoints:
        return
    name = Path(cfg.filename).name
    earlier = [file for file in folder.glob('*.py') if file.name != name]
    same = (folder / name).is_file()
    if earlier and not same:
        raise WorkDirError(
            f'{folder} holds the run of another config, {earlier[0].name} '
            f'({len(checkpoints)} checkpoints, such as '
            f'{checkpoints[0].name}). Choose another --work-dir, or replace '
            'it with --overwrite')
    if resume and same and not _same_model(cfg, folder / name):
        raise WorkDirError(
            f'{folder} holds a run of {name} with another model, so it '
            'cannot be resumed with this one. Choose another --work-dir, or '
            'replace it with --overwrite')
    if not resume:
        raise WorkDirError(
            f'{folder} already holds a run ({len(checkpoints)} checkpoints, '
            f'such as {checkpoints[0].name}). Continue it with --resume, '
            'choose another --work-dir, or replace it with --overwrite')


def _same_model(cfg: Config, dumped: Path) -> bool:
    """Whether a run's saved config has this model, start weights apart."""
    try:
        old = Config.fromfile(str(dumped), import_custom_modules=False)
    except Exception:
        return False
    return _plain(cfg.model) == _plain(old.get('model'))


def _plain(value):
    """Lists for tuples; without what does not change the weights."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()
                if key not in ('init_cfg', 'test_cfg')}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def check_output(path: str | None, option: str, endings: Sequence[str]):
    """Refuse a file name that could not be written after the run.

    Args:
        path: Of the file, or None.
        option: That named it, for the message.
        endings: What it may end with.

    Raises:
        ConfigError: For another ending, or where a folder of that name is.
    """
    if path is None:
        return
    if not path.endswith(tuple(endings)):
        raise ConfigError(
            f'{option} {path}: expected a name that ends with '
            f'{" or ".join(endings)}')
    if Path(path).is_dir():
        raise ConfigError(f'{option} {path}: a folder has this name')
    Path(path).parent.mkdir(parents=True, exist_ok=True)


def check_detections(path: str, ann_file: str) -> None:
    """Refuse a detections file that is of other images.

    Args:
        path: COCO results, a list of `{image_id, category_id, bbox, score}`.
        ann_file: The annotations, in COCO's format.

    Raises:
        DatasetError: If a box is of another image, or it is no such list.
    """
    boxes = _read_json(path, 'detections')
    if not isinstance(boxes, list) or not all(
            isinstance(box, dict) and {'image_id', 'bbox', 'score'} <= set(box)
            for box in boxes):
        raise DatasetError(
            f'detections unreadable: {path} is no list of boxes in COCO '
            'results format ({image_id, category_id, bbox, score})')
    known = {image['id']
             for image in _read_json(ann_file, 'annotations')['images']}
    strange = [box['image_id'] for box in boxes
               if box['image_id'] not in known]
    if strange:
        raise DatasetError(
            f'{path} has detections of other images: {len(strange)} of '
            f'{len(boxes)} boxes (such as of image {strange[0]}) are of no '
            f'image in {ann_file}')


def _read_json(path: str, what: str):
    try:
        return load_file(path, file_format='json')
    except ValueError as error:
        raise DatasetError(
            f'{what} unreadable: {path} is no JSON file ({error})') from error


def _earlier_run(folder: str) -> list[Path]:
    """Files of an earlier run: checkpoints, saved configs, their pointer."""
    work = Path(folder)
    files = [file for pattern in ('*.pth', '*.partial', 'last_checkpoint')
             for file in work.glob(pattern)]
    # MMEngine saves a config with these two, which nobody writes by hand.
    return files + [
        file for file in work.glob('*.py') if all(
            re.search(f'^{name} = ', file.read_text(), re.MULTILINE)
            for name in ('launcher', 'work_dir'))]


def check_overwrite(cfg: Config) -> None:
    """Refuse to remove an earlier run whose weights this one starts from.

    Args:
        cfg: A config with its `work_dir`.

    Raises:
        WorkDirError: With the file that would be lost.
    """
    removed = {file.resolve() for file in _earlier_run(cfg.work_dir)}
    for text in strings_of([cfg.get('load_from'), cfg.model]):
        if Path(text).expanduser().resolve() in removed:
            raise WorkDirError(
                f'--overwrite would remove {text}, which the training is to '
                'start from: move it elsewhere, or choose another --work-dir')


def check_same_start(cfg: Config) -> None:
    """Refuse processes of one run that would start at different steps.

    Machines whose work dirs are not the same folder find different
    checkpoints to resume. Call it when the processes have met.

    Args:
        cfg: A config whose `resume` and `load_from` are decided.

    Raises:
        WorkDirError: With what each process would start from.
    """
    start = cfg.load_from if cfg.get('resume') else None
    name = Path(start).name if start else 'the first step'
    starts: list = [None] * get_world_size()
    if len(starts) > 1:
        torch.distributed.all_gather_object(starts, name)
    else:
        starts = [name]
    if len(set(starts)) > 1:
        raise WorkDirError(
            f'the processes would not start together, but from '
            f'{", ".join(starts)}: put --work-dir {cfg.work_dir} on a disk '
            'that all machines share, or copy the checkpoint to each')


def clear_work_dir(folder: str) -> None:
    """Remove an earlier run: checkpoints, saved configs, logged curves.

    Args:
        folder: The work dir; what no run has written there stays.
    """
    for file in _earlier_run(folder):
        file.unlink(missing_ok=True)
    for curves in Path(folder).glob('*/vis_data'):
        shutil.rmtree(curves)
