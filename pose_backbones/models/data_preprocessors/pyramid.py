"""Batches of images that each come at several sizes."""

from mmpose.models.data_preprocessors import PoseDataPreprocessor

from ...registry import MODELS


@MODELS.register_module()
class PyramidDataPreprocessor(PoseDataPreprocessor):
    """Normalize and stack images, each at one size or at several.

    Images at one size are MMPose's matter: a batch of different shapes is
    padded on the right and below, with 0 after the normalization, to the
    greatest height and width of the batch. So are, here, the images of each
    further size. Pixels keep their places, and the meta item `input_size`
    (w, h) says what of a map is of the image, of `batch_input_shape` (h, w).

    Arguments: see MMPose's `PoseDataPreprocessor`.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: From the data loader. `inputs` is a list of N images
                (3, h, w) or, from `PackBottomupInputs` with several scale
                factors, a list with such a list for each of them;
                `data_samples` is a list of N.
            training: Whether batch augmentation, if any, is done.

        Returns:
            `inputs`: (N, 3, H, W), or a tuple of these, one a scale factor
            (MMPose's estimators stack a list, which must be of one size);
            `data_samples` with `batch_input_shape` and `pad_shape` (h, w),
            those of the first scale.
        """
        levels = data['inputs']
        if not isinstance(levels[0], (list, tuple)):
            return super().forward(data, training)
        # The first comes last, so that the meta items are its own.
        done = [
            super(PyramidDataPreprocessor, self).forward({**data, 'inputs': list(level)}, training)
            for level in levels[::-1]
        ]
        return {**done[-1], 'inputs': tuple(one['inputs'] for one in done[::-1])}
