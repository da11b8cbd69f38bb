"""Transform that reads an image file, with an error message that names the problem."""

from mmcv.transforms import LoadImageFromFile

from ...errors import DatasetError
from ...registry import TRANSFORMS
from ...utils.files import is_url
from ...utils.images import NoImageError, check_image_file

_ADVICE = '. Restore the file, or remove its entry from the annotation file'


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """Read an image file like MMPose's `LoadImage`.

    Uses `img_path`; adds `img` (H, W, 3, uint8, BGR), `img_shape` and `ori_shape` (H, W). If the
    sample already contains an image, under `img`, no file is read.

    A local file that is too large or not a regular file is not decoded, see `utils.images`. Formats
    that Pillow does not support are read by OpenCV.

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
        try:
            self._check(path)
            return super().transform(results)
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

    def _check(self, path: str) -> None:
        """Raise if a local file could block the process or exceed the memory."""
        backend = (self.backend_args or self.file_client_args or {}).get('backend', 'local')
        if is_url(path) or backend not in ('local', 'disk'):
            return
        try:
            check_image_file(path)
        except NoImageError:
            # OpenCV supports other formats than Pillow, and does not start a program either.
            if self.imdecode_backend != 'cv2':
                raise
