"""Replace MMPose's transform `Albumentation`, which was written for albumentations 1.

MMPose's registry of transforms imports this module when a name is looked up for the first time.

albumentations 2.0.8 is the last release with a permissive licence. It differs from version 1:

- Arguments have other names. The old ones are ignored with a warning, so that another augmentation
  would run than the one in the config. `_TRANSLATIONS` translates those in MMPose's configs;
  any other unknown argument raises an error.
- The random numbers come from generators of its own, which no global seed changes, and of which
  each process of a data loader has the same copy. They are seeded from NumPy's global generator
  here, like the random numbers of MMPose's transforms.
- `albumentations.augmentations.transforms`, where MMPose looks up names, does not exist.
"""

import importlib
import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from mmpose.datasets.transforms import common_transforms
from mmpose.registry import TRANSFORMS

from ..errors import ConfigError, closest, first_line, shown


@TRANSFORMS.register_module(force=True)
class Albumentation(common_transforms.Albumentation):
    """MMPose's `Albumentation` for albumentations 2.

    Args:
        transforms: Configs of the transforms: the name of the class, as `type`, and its arguments,
            in the names of the installed version of albumentations or of version 1.
        keymap: As in MMPose.

    Raises:
        ConfigError: If albumentations cannot be imported, a transform or an argument is unknown or
            invalid, or a transform moves the pixels, such as a flip: it gets the image only.
    """

    def __init__(self, transforms: Sequence[Mapping], keymap: Mapping | None = None) -> None:
        if common_transforms.albumentations is None:
            try:
                importlib.import_module('albumentations')
                reason = 'it was installed after the start'
            except ImportError as error:
                reason = first_line(error)
            raise ConfigError(
                f'the transform Albumentation requires albumentations ({reason}): '
                'pip install albumentations==2.0.8'
            )
        if isinstance(transforms, Mapping) or not isinstance(transforms, Sequence):
            raise ConfigError(f'Albumentation: transforms={shown(transforms)}: expected a list')
        if keymap and 'image' not in keymap.values():
            raise ConfigError(
                f'Albumentation: keymap={shown(keymap)}: expected names of MMPose and those of '
                "albumentations, such as {'img': 'image'}"
            )
        super().__init__(transforms, keymap)

    def albu_builder(self, cfg: Mapping) -> Any:
        """Build a transform of albumentations.

        Args:
            cfg: See the constructor.
        """
        albumentations = common_transforms.albumentations
        if not isinstance(cfg, Mapping) or 'type' not in cfg:
            raise ConfigError(
                f'Albumentation: transforms contains {shown(cfg)}: expected type=NAME'
            )
        arguments = dict(cfg)
        kind = arguments.pop('type')
        known = {name: part for name, part in vars(albumentations).items() if inspect.isclass(part)}
        transform = known.get(kind) if isinstance(kind, str) else kind
        if not isinstance(transform, type):
            raise ConfigError(
                f'Albumentation: albumentations {albumentations.__version__} has no transform '
                f'{kind!r}{closest(str(kind), list(known))}'
            )
        if 'transforms' in arguments:
            arguments['transforms'] = [self.albu_builder(part) for part in arguments['transforms']]
        arguments = _translate(transform, arguments)
        if _moves_pixels(albumentations, transform):
            raise ConfigError(
                f'Albumentation: {transform.__name__} moves the pixels, but not the keypoints: '
                'expected transforms of MMPose in its place, such as RandomFlip, '
                'RandomBBoxTransform or BottomupRandomAffine'
            )
        try:
            return transform(**arguments)
        except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
            # pydantic's errors have a line for each argument
            reason = ' '.join(line.strip() for line in str(error).splitlines()[:3])
            raise ConfigError(f'Albumentation: {transform.__name__}: {reason}') from error

    def transform(self, results: dict) -> dict:
        """Apply the transforms to the image, with NumPy's global generator as the seed.

        Args:
            results: See MMPose's `Albumentation`.
        """
        if hasattr(self.aug, 'set_random_state'):
            seed = np.random.randint(2**32, dtype=np.uint32)
            # One pair of generators for all: with equal seeds, they would act on the same images.
            self.aug.set_random_state(np.random.default_rng(seed), random.Random(int(seed)))
        return super().transform(results)


def _moves_pixels(albumentations: Any, transform: type) -> bool:
    dual = getattr(albumentations, 'DualTransform', ())
    moves = '.dropout.' not in transform.__module__ and transform.__name__ not in _IN_PLACE
    return issubclass(transform, dual) and moves


def _translate(transform: type, arguments: dict) -> dict:
    """Return the arguments of a transform, with old names replaced.

    Args:
        transform: A class of albumentations.
        arguments: Name → value.

    Raises:
        ConfigError: If an argument is unknown, or has both its old and its new name.
    """
    parameters = inspect.signature(transform.__init__).parameters  # type: ignore[misc]
    unknown = arguments.keys() - parameters.keys()
    if not unknown:
        return arguments
    arguments = dict(arguments)
    if 'always_apply' in unknown and arguments.pop('always_apply'):
        arguments['p'] = 1.0
    translation = _TRANSLATIONS.get(transform.__name__)
    if translation is not None:
        translation(arguments)
    for old, new in (('fill_value', 'fill'), ('mask_fill_value', 'fill_mask')):
        if old in unknown and new in parameters:
            _set_new(arguments, **{new: arguments.pop(old)})
    for name in arguments:
        if name not in parameters:
            raise ConfigError(
                f'Albumentation: {transform.__name__} has no argument {name!r} in albumentations '
                f'{common_transforms.albumentations.__version__}: expected '
                f'{", ".join(key for key in parameters if key != "self")}'
            )
    return arguments


def _set_new(arguments: dict, **values: Any) -> None:
    """Add translated arguments.

    Raises:
        ConfigError: If one of them is given as well.
    """
    for name in values.keys() & arguments.keys():
        raise ConfigError(
            f'Albumentation: the argument {name} is given, and so is its old name of '
            'albumentations 1: expected one of them'
        )
    arguments.update(values)


def _coarse_dropout(arguments: dict) -> None:
    """Translate the number and the size of the holes, in pixels or parts of the image."""
    old = {'max_holes', 'max_height', 'max_width', 'min_holes', 'min_height', 'min_width'}
    if not old & arguments.keys():
        return
    ranges = {}
    for size in ('holes', 'height', 'width'):
        maximum = arguments.pop(f'max_{size}', 8)
        minimum = arguments.pop(f'min_{size}', None)
        ranges[size] = (maximum if minimum is None else minimum, maximum)
    sides = (*ranges['height'], *ranges['width'])
    if len({isinstance(side, float) for side in sides}) > 1:
        raise ConfigError(
            f'Albumentation: CoarseDropout: the heights and widths are {sides}: expected '
            'integers (pixels) or floats less than 1 (parts of the image) for all of '
            'min_height, max_height, min_width and max_width'
        )
    _set_new(
        arguments,
        num_holes_range=ranges['holes'],
        hole_height_range=ranges['height'],
        hole_width_range=ranges['width'],
    )


def _grid_dropout(arguments: dict) -> None:
    """Translate the size of the cells and the offset.

    In albumentations 2, the offset of the hole is random for each cell; in version 1, it was the
    same in all cells. The upper limit of a cell is exclusive.
    """
    arguments.setdefault('random_offset', False)
    if {'unit_size_min', 'unit_size_max'} <= arguments.keys():
        sizes = arguments.pop('unit_size_min'), arguments.pop('unit_size_max')
        if all(sizes):
            _set_new(arguments, unit_size_range=(sizes[0], sizes[1] + 1))
    if {'shift_x', 'shift_y'} & arguments.keys():
        shifts = arguments.pop('shift_x', 0), arguments.pop('shift_y', 0)
        _set_new(arguments, shift_xy=tuple(shift or 0 for shift in shifts))


def _image_compression(arguments: dict) -> None:
    if {'quality_lower', 'quality_upper'} & arguments.keys():
        quality = arguments.pop('quality_lower', 99), arguments.pop('quality_upper', 100)
        _set_new(arguments, quality_range=quality)


#: transforms of images and masks that move no pixels, or that the user defines
_IN_PLACE = ('Lambda', 'Morphological', 'NoOp', 'OverlayElements')
#: Class → function that replaces old arguments, which the installed version does not have.
_TRANSLATIONS: dict[str, Callable[[dict], None]] = {
    'CoarseDropout': _coarse_dropout,
    'GridDropout': _grid_dropout,
    'ImageCompression': _image_compression,
}
