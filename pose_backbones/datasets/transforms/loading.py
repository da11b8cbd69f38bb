"""Transform that reads an image file, with an error message that names the problem."""

import numpy as np
from mmcv.transforms import LoadImageFromFile

from ...errors import DatasetError
from ...registry import TRANSFORMS
from ...utils.files import is_url
from ...utils.images import NoImageError, check_image_file, check_sides, read_image
from ..image_cache import read_cached

_ADVICE = '. Restore the file, or remove its entry from the annotation file'


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """Read an image file like MMPose's `LoadImage`, with the pixels that inference uses.

    Uses `img_path`; adds `img` (H, W, 3, uint8, BGR), `img_shape` and `ori_shape` (H, W). If the
    sample already contains an image, under `img`, no file is read.

    Local files are read by `utils.images.read_image`, which applies the EXIF orientation in all
    formats and shows transparent parts as white. MMCV reads formats that Pillow does not support,
    other files than local ones, and images with other settings than the default ones. A local file
    that is too large or not a regular file is not decoded. With `ImageGroupedSampler` and
    `ImageOrderedSampler`, the image of several samples is read once per epoch.

    Raises:
        DatasetError: If the file is missing or cannot be read as an image. The message contains its
            path.
    """

    def transform(self, results: dict) -> dict | None:
        """Add the image to `results`."""
        if results.get('img') is not None:
            shape = results['img'].shape[:2]
            results.setdefault('img_path', None)
            return {**results, 'img_shape': shape, 'ori_shape': shape}
        path = results['img_path']
        key = path, self.color_type, self.imdecode_backend, self.to_float32
        try:
            image = read_cached(key, lambda: self._read(path))
            if image is None:
                return None
            shape = image.shape[:2]
            return {**results, 'img': image, 'img_shape': shape, 'ori_shape': shape}
        except DatasetError as error:
            problem, cause = str(error), error
        except FileNotFoundError as error:
            problem = f'cannot read the image {path}: there is no such file'
            cause = error
        except Exception as error:
            problem = f'cannot read the image {path}: not a format that OpenCV supports'
            cause = error
        if self.ignore_empty:
            return None
        raise DatasetError(f'{problem}{_ADVICE}') from cause

    def _read(self, path: str) -> np.ndarray | None:
        """Return the image; None if it is empty and `ignore_empty` is set."""
        image = self._read_local_color(path)
        if image is None:
            results = super().transform(dict(img_path=path))
            return None if results is None else results['img']
        return image

    def _read_local_color(self, path: str) -> np.ndarray | None:
        """Return the image as inference reads it; None if MMCV reads it.

        A local file that could block the process or exceed the memory raises.
        """
        backend = (self.backend_args or self.file_client_args or {}).get('backend', 'local')
        if is_url(path) or backend not in ('local', 'disk'):
            return None
        try:
            if self.color_type == 'color' and self.imdecode_backend == 'cv2':
                image = read_image(path)
                check_sides(path, image.shape[1], image.shape[0])
                return image.astype(np.float32) if self.to_float32 else image
            check_image_file(path)
        except NoImageError:
            # OpenCV supports other formats than Pillow, and does not start a program either.
            if self.imdecode_backend != 'cv2':
                raise
        return None
