"""Whether a model and its data are both top-down, or both bottom-up."""

from collections.abc import Callable, Sequence

from mmengine.config import Config
from mmpose.registry import KEYPOINT_CODECS, MODELS, TRANSFORMS

from ..configs import building
from ..errors import ConfigError, DatasetError
from ..structures.coco import CocoFile

_SAMPLES = {'topdown': 'one person', 'bottomup': 'an image with its people'}


def is_bottomup(dataset: dict) -> bool:
    """Whether the samples of a data set's config are whole images."""
    return dataset.get('data_mode') == 'bottomup'


def check_data_mode(cfg: Config, splits: Sequence[str]) -> None:
    """Refuse data of one kind for a model of the other, and what does not go
    with whole images: detections, scales that the model cannot take.

    Args:
        cfg: A config whose types are known.
        splits: Of `'train'`, `'val'`, `'test'`; those that will be used.

    Raises:
        ConfigError: With the entry, its value and what was expected.
    """
    wanted = _data_mode(cfg)
    for split in splits:
        dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
        if not dataset or 'ann_file' not in dataset:
            continue
        place = f'{split}_dataloader.dataset'
        mode = dataset.get('data_mode', 'topdown')
        if wanted is not None and mode != wanted:
            raise ConfigError(
                f'{place}.data_mode is {mode!r}, of which a sample is '
                f'{_SAMPLES.get(mode, "something else")}; {cfg.model.type} '
                f'takes {_SAMPLES[wanted]}: use a data set of mode '
                f'{wanted!r}, with a pipeline for it'
            )
        if mode != 'bottomup':
            continue
        if dataset.get('bbox_file'):
            raise ConfigError(
                f'{place}.bbox_file is {dataset.bbox_file!r}: detections are '
                'of single people; a bottom-up model finds them itself. '
                'Leave it out'
            )
        _check_scales(cfg, dataset, place)


def _data_mode(cfg: Config) -> str | None:
    """What the model takes; None where its class does not tell."""
    # Not above: they import MMPose's models, which takes seconds.
    from mmpose.models.pose_estimators import BottomupPoseEstimator, TopdownPoseEstimator

    kind = MODELS.get(cfg.model.type)
    for mode, base in (('bottomup', BottomupPoseEstimator), ('topdown', TopdownPoseEstimator)):
        if isinstance(kind, type) and issubclass(kind, base):
            return mode
    return None


def _check_scales(cfg: Config, dataset: dict, place: str) -> None:
    from ..datasets.transforms.bottomup import ResizeAlign, check_scale_factors
    from ..models.data_preprocessors import PyramidDataPreprocessor

    for number, step in enumerate(dataset.get('pipeline', [])):
        if TRANSFORMS.get(step['type']) is not ResizeAlign:
            continue
        factors = step.get('scale_factors', (1,))
        try:
            check_scale_factors(factors)
        except (TypeError, ValueError) as error:
            raise ConfigError(f'{place}.pipeline[{number}]: {error}') from error
        preprocessor = (cfg.model.get('data_preprocessor') or {}).get('type')
        kind = MODELS.get(str(preprocessor))
        if len(factors) > 1 and not (
            isinstance(kind, type) and issubclass(kind, PyramidDataPreprocessor)
        ):
            raise ConfigError(
                f'{place}.pipeline[{number}]: an image at the scale_factors '
                f'{tuple(factors)} is more than one; '
                f'model.data_preprocessor.type {preprocessor!r} takes one: '
                "expected 'pose_backbones.PyramidDataPreprocessor'"
            )


def check_badcase(cfg: Config) -> None:
    """Refuse to look for bad cases among people that nobody was asked for.

    Args:
        cfg: A config that is tested.

    Raises:
        ConfigError: If MMPose's hook is enabled for a bottom-up model.
    """
    hook = (cfg.get('default_hooks') or {}).get('badcase') or {}
    if hook.get('enable') and is_bottomup(cfg.test_dataloader.dataset):
        raise ConfigError(
            '--badcase (default_hooks.badcase) compares the people of a '
            'sample with its predictions one by one, but those of a '
            'bottom-up model belong to nobody: --show-dir draws them all'
        )


def check_image_sizes(dataset: dict, annotations: str, read: Callable[[str], CocoFile]) -> None:
    """Refuse images that the pipeline of a data set would refuse later.

    Args:
        dataset: The config of a data set whose types are known.
        annotations: In COCO's format; images whose size they do not have
            are left to the pipeline.
        read: Reads annotations.

    Raises:
        DatasetError: With the first image that would become too large.
        ConfigError: If the pipeline has wrong arguments.
    """
    from ..datasets.transforms.bottomup import ResizeAlign

    steps = [
        step for step in dataset.get('pipeline', []) if TRANSFORMS.get(step['type']) is ResizeAlign
    ]
    if not steps:
        return
    try:
        resize = TRANSFORMS.build(steps[0])
    except (TypeError, ValueError) as error:
        raise ConfigError(f'the pipeline of {annotations}: {error}') from error
    for image in read(annotations).entries('images'):
        size = image.get('width'), image.get('height')
        if all(size):
            resize.check_size(size, image.get('file_name'))


def check_sigmas(cfg: Config, declared: int, where: str) -> None:
    """Refuse a codec that is made for other key points than the data's.

    Args:
        cfg: A config.
        declared: Number of key points of the data.
        where: What data, for the message.

    Raises:
        DatasetError: If its sigmas are of another number.
        ConfigError: If it cannot be built.
    """
    decoder = (cfg.model.get('head') or {}).get('decoder')
    for place, codec in (('codec', cfg.get('codec')), ('model.head.decoder', decoder)):
        if not isinstance(codec, dict) or 'sigmas' not in codec:
            continue
        with building(cfg):
            sigmas = KEYPOINT_CODECS.build(codec).sigmas
        if len(sigmas) != declared:
            raise DatasetError(
                f'{place}.sigmas={codec["sigmas"]!r} is of {len(sigmas)} key '
                f'points, but {where} has {declared}'
            )
