"""Check that a model and its data are both top-down or both bottom-up."""

from collections.abc import Callable, Mapping, Sequence

from mmengine.config import Config
from mmpose.registry import KEYPOINT_CODECS, MODELS, TRANSFORMS

from ..configs import building, find_class, find_datasets
from ..errors import ConfigError, DatasetError
from ..structures.coco import CocoFile, has_fields

#: data mode of MMPose → its samples, for messages
_SAMPLES = {'topdown': 'single people', 'bottomup': 'whole images'}


def is_bottomup(dataset: dict) -> bool:
    """Return whether a dataset has MMPose's data mode for bottom-up models, with whole images.

    Args:
        dataset: Config of the dataset.
    """
    return dataset.get('data_mode') == 'bottomup'


def check_data_mode(cfg: Config, splits: Sequence[str]) -> None:
    """Check that the datasets have the data mode of the model, `'topdown'` or `'bottomup'`.

    Bottom-up datasets must have no file of detections, and only scale factors that the data
    preprocessor of the model accepts.

    Args:
        cfg: A config that has passed `check_types`.
        splits: The splits that the run uses, some of `'train'`, `'val'` and `'test'`.

    Raises:
        ConfigError: If the data mode, the detections or the scales do not match the model.
    """
    model_mode = _data_mode(cfg)
    datasets = [part for split in splits for part in find_datasets(cfg, split)]
    for place, dataset in datasets:
        if 'ann_file' not in dataset:  # a wrapper
            continue
        mode = dataset.get('data_mode', 'topdown')
        if model_mode is not None and mode != model_mode:
            raise ConfigError(
                f'{place}.data_mode is {mode!r}, whose samples are '
                f'{_SAMPLES.get(mode, "of another kind")}; {cfg.model.type} takes '
                f'{_SAMPLES[model_mode]}: use data_mode={model_mode!r} with a matching pipeline'
            )
        if mode != 'bottomup':
            continue
        if dataset.get('bbox_file'):
            raise ConfigError(
                f'{place}.bbox_file is {dataset["bbox_file"]!r}: a bottom-up model detects the '
                'people itself and needs no detections: remove bbox_file'
            )
        _check_scales(cfg, dataset, place)


def _data_mode(cfg: Config) -> str | None:
    """Return the data mode of the model; None if its class does not determine it."""
    # Imported here, since importing the models of MMPose takes seconds.
    from mmpose.models.pose_estimators import BottomupPoseEstimator, TopdownPoseEstimator

    model_class = find_class(cfg.model, MODELS)
    for mode, base in (('bottomup', BottomupPoseEstimator), ('topdown', TopdownPoseEstimator)):
        if isinstance(model_class, type) and issubclass(model_class, base):
            return mode
    return None


def _check_scales(cfg: Config, dataset: Mapping, place: str) -> None:
    """Check the scale factors of a bottom-up dataset; `place` is its name in the config."""
    from ..datasets.transforms.bottomup import ResizeAlign, check_scale_factors
    from ..models.data_preprocessors import PyramidDataPreprocessor

    for index, step in enumerate(dataset.get('pipeline', [])):
        if find_class(step, TRANSFORMS) is not ResizeAlign:
            continue
        factors = step.get('scale_factors', (1,))
        try:
            check_scale_factors(factors)
        except (TypeError, ValueError) as error:
            raise ConfigError(f'{place}.pipeline[{index}]: {error}') from error
        preprocessor = cfg.model.get('data_preprocessor') or {}
        preprocessor_class = find_class(preprocessor, MODELS)
        if len(factors) > 1 and not (
            isinstance(preprocessor_class, type)
            and issubclass(preprocessor_class, PyramidDataPreprocessor)
        ):
            raise ConfigError(
                f'{place}.pipeline[{index}]: scale_factors={tuple(factors)} gives several inputs '
                f'per image, but model.data_preprocessor.type is {preprocessor.get("type")!r}: '
                "expected 'pose_backbones.PyramidDataPreprocessor'"
            )


def check_badcase(cfg: Config) -> None:
    """Check that MMPose's `BadCaseAnalysisHook` is not enabled for a bottom-up model.

    Args:
        cfg: Config of a test.

    Raises:
        ConfigError: If it is enabled for a bottom-up model.
    """
    hook = (cfg.get('default_hooks') or {}).get('badcase') or {}
    if hook.get('enable') and is_bottomup(cfg.test_dataloader.dataset):
        raise ConfigError(
            '--badcase (default_hooks.badcase) compares each annotated person with one '
            'prediction, but the predictions of a bottom-up model are not matched to people: '
            'use --show-dir to draw all of them'
        )


def check_image_sizes(dataset: dict, annotations: str, read: Callable[[str], CocoFile]) -> None:
    """Check that the pipeline of a dataset does not resize images to more than its maximum.

    Args:
        dataset: Config of a dataset that has passed `check_types`.
        annotations: Path of the annotations in COCO format. Images without a width and height are
            skipped; the pipeline checks them when it reads them.
        read: Function that reads the annotations.

    Raises:
        DatasetError: If an image would become too large.
        ConfigError: If the arguments of the pipeline are invalid.
    """
    from ..datasets.transforms.bottomup import ResizeAlign

    steps = [
        step for step in dataset.get('pipeline', []) if find_class(step, TRANSFORMS) is ResizeAlign
    ]
    if not steps:
        return
    try:
        resize = TRANSFORMS.build(steps[0])
    except (TypeError, ValueError) as error:
        raise ConfigError(f'the pipeline of {annotations}: {error}') from error
    for image in read(annotations).entries('images'):
        if has_fields('width', 'height')(image) is None:
            resize.check_size((image['width'], image['height']), image.get('file_name'))


def check_sigmas(cfg: Config, num_keypoints: int, where: str) -> None:
    """Check that the codec has as many sigmas as the dataset has keypoints.

    Args:
        cfg: The config.
        num_keypoints: Number of keypoints of the dataset.
        where: Name of the dataset, for the message.

    Raises:
        DatasetError: If the number of sigmas differs.
        ConfigError: If the codec cannot be built.
    """
    decoder = (cfg.model.get('head') or {}).get('decoder')
    for place, codec in (('codec', cfg.get('codec')), ('model.head.decoder', decoder)):
        if not isinstance(codec, dict) or 'sigmas' not in codec:
            continue
        with building(cfg):
            sigmas = KEYPOINT_CODECS.build(codec).sigmas
        if len(sigmas) != num_keypoints:
            raise DatasetError(
                f'{place}.sigmas={codec["sigmas"]!r} is for {len(sigmas)} keypoints, '
                f'but {where} has {num_keypoints}'
            )
