"""Reading images, with an error that a user can act on."""

from mmcv.transforms import LoadImageFromFile

from ...registry import TRANSFORMS
from ...utils.errors import DatasetError


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """Read an image file as MMPose's `LoadImage` does.

    Takes `img_path`; adds `img` (H, W, 3, uint8, BGR), `img_shape` and
    `ori_shape` (H, W). An image that is already there, under `img`, is kept.

    Raises:
        DatasetError: If the file is missing or not an image; names it.
    """

    def transform(self, results: dict) -> dict:
        """Add the image to `results`."""
        if results.get('img') is not None:
            shape = results['img'].shape[:2]
            results.setdefault('img_path', None)
            return {**results, 'img_shape': shape, 'ori_shape': shape}
        path = results['img_path']
        try:
            return super().transform(results)
        except FileNotFoundError as error:
            problem = 'there is no such file'
            cause = error
        except Exception as error:
            problem = 'it is no image that OpenCV can read'
            cause = error
        raise DatasetError(
            f'cannot read the image {path}: {problem}. Restore the file, or '
            'take its entry out of the annotation file') from cause
