"""Reading images, with an error that a user can act on."""

from mmcv.transforms import LoadImageFromFile

from ...errors import DatasetError
from ...registry import TRANSFORMS
from ...utils.files import is_url
from ...utils.images import NoImageError, check_image_file

_ADVICE = '. Restore the file, or take its entry out of the annotation file'


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """Read an image file as MMPose's `LoadImage` does.

    Takes `img_path`; adds `img` (H, W, 3, uint8, BGR), `img_shape` and
    `ori_shape` (H, W). An image that is already there, under `img`, is kept.

    A local file that is no regular file or is too large is refused without
    decoding it, see `utils.images`. A format that Pillow does not know is left
    to OpenCV.

    Raises:
        DatasetError: If the file is missing or not such an image; names it.
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
        """Refuse a local file that could block, or fill the memory."""
        backend = (self.backend_args or self.file_client_args or {}).get('backend', 'local')
        if is_url(path) or backend not in ('local', 'disk'):
            return
        try:
            check_image_file(path)
        except NoImageError:
            # OpenCV runs no program; it may know what Pillow does not.
            if self.imdecode_backend != 'cv2':
                raise
