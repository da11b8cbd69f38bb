"""Transforms with the names and results of MMPose's transforms, which take less time."""

import cv2
import numpy as np
from mmpose import datasets
from scipy.special import ndtr, ndtri

from ...registry import TRANSFORMS

#: direction → argument of `cv2.flip`
_CODES = {'horizontal': 1, 'vertical': 0, 'diagonal': -1}
#: entries of a sample with many numbers
_LARGE_ENTRIES = ('raw_ann_info', 'flip_indices')


@TRANSFORMS.register_module()
class RandomFlip(datasets.transforms.RandomFlip):
    """Randomly flip image, boxes, keypoints and masks, with the results of MMPose's `RandomFlip`.

    MMPose's transform returns a view of the image, which OpenCV copies pixel by pixel in the next
    transform; for 640x480 pixels, this takes longer than all other transforms except for decoding.
    Here, OpenCV flips the image.
    """

    def transform(self, results: dict) -> dict:
        """Flip the results with the probability and the directions of the constructor.

        Args:
            results: See MMPose's `RandomFlip`.

        Returns:
            The same dict; flipped images and masks are contiguous.
        """
        images = {key: results[key] for key in ('img', 'img_mask') if key in results}
        results = super().transform(results)
        if results['flip']:
            code = _CODES[results['flip_direction']]
            for key, value in images.items():
                results[key] = (
                    [_flip(image, code) for image in value]
                    if isinstance(value, list)
                    else _flip(value, code)
                )
        return results


def _flip(image: np.ndarray, code: int) -> np.ndarray:
    # OpenCV removes the axis of a single channel.
    return cv2.flip(image, code).reshape(image.shape)


@TRANSFORMS.register_module()
class RandomBBoxTransform(datasets.transforms.RandomBBoxTransform):
    """Randomly shift, scale and rotate bounding boxes, as MMPose's transform of the same name.

    The truncated normal distribution is sampled with the same random numbers, by inverting its
    distribution function directly; `scipy.stats.truncnorm` takes several times as long for the few
    values of a sample.
    """

    @staticmethod
    def _truncnorm(low: float = -1.0, high: float = 1.0, size: tuple[int, ...] = ()) -> np.ndarray:
        start, end = ndtr((low, high))
        return ndtri(start + (end - start) * np.random.uniform(size=size)).astype(np.float32)


@TRANSFORMS.register_module()
class PackPoseInputs(datasets.transforms.PackPoseInputs):
    """Pack the image and the labels of a sample, as MMPose's transform of the same name.

    MMPose copies the annotation, which has the outline of the person, into the data sample. Here,
    the data sample gets the annotation of `results` itself.
    """

    def transform(self, results: dict) -> dict:
        """Pack the sample.

        Args:
            results: See MMPose's `PackPoseInputs`.

        Returns:
            `inputs`, the image (3, H, W), and `data_samples`, a `PoseDataSample`.
        """
        large = {
            key: results[key] for key in _LARGE_ENTRIES if key in results and key in self.meta_keys
        }
        packed = super().transform(
            {key: value for key, value in results.items() if key not in large}
        )
        for key, value in large.items():
            packed['data_samples'].set_field(value, key, field_type='metainfo')
        return packed
