"""Data preprocessor for batches of images at several scales."""

from mmpose.models.data_preprocessors import PoseDataPreprocessor

from ...registry import MODELS


@MODELS.register_module()
class PyramidDataPreprocessor(PoseDataPreprocessor):
    """Normalize and batch images, each at one or several scales.

    MMPose's `PoseDataPreprocessor` pads images of different sizes on the right and at the bottom,
    with 0 after the normalization, to the largest height and width of the batch. This class does
    the same for each scale. The meta item `input_size` (w, h) is the size of the image without
    padding, `batch_input_shape` (h, w) the size with padding.

    Args: See MMPose's `PoseDataPreprocessor`.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: Batch of the data loader. `inputs` is a list of N images (3, h, w) or, from
                `PackBottomupInputs` with several scale factors, a list of such lists, one for each
                scale factor. `data_samples` is a list of N data samples.
            training: Whether to apply batch augmentations, if there are any.

        Returns:
            A dict. `inputs`: (N, 3, H, W), or a tuple of these, one for each scale factor (a list
            would be stacked by MMPose's estimators); `data_samples`: with `batch_input_shape` and
            `pad_shape` (h, w) of the first scale.
        """
        levels = data['inputs']
        if not isinstance(levels[0], (list, tuple)):
            return super().forward(data, training)
        # The first scale is processed last, so that the meta items are those of the first scale.
        batches = [
            super(PyramidDataPreprocessor, self).forward({**data, 'inputs': list(level)}, training)
            for level in levels[::-1]
        ]
        return {**batches[-1], 'inputs': tuple(batch['inputs'] for batch in batches[::-1])}
