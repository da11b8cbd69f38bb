"""Transforms with the names and results of MMPose's transforms, which take less time."""

import copy

import cv2
import numpy as np
import torch
from mmpose import datasets
from scipy.special import ndtr, ndtri

from ...registry import TRANSFORMS

#: direction → argument of `cv2.flip`
_CODES = {'horizontal': 1, 'vertical': 0, 'diagonal': -1}
_NO_IMAGE = np.zeros((1, 1, 1), np.uint8)


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
class TopdownAffine(datasets.transforms.TopdownAffine):
    """Crop a bounding box, with the results of MMPose's `TopdownAffine`.

    OpenCV 5 warps images of four channels in less than half the time of images of three channels,
    with the same results. The image of the last sample is kept with four channels, for further
    samples with the same array.

    Args:
        *args, **kwargs: See MMPose's transform.
    """

    #: the image of the last sample, and the same with four channels
    _last: tuple[np.ndarray, np.ndarray] | None = None

    def transform(self, results: dict) -> dict:
        """Crop the image and transform the keypoints.

        Args:
            results: See MMPose's `TopdownAffine`.

        Returns:
            The same dict.
        """
        image = results['img']
        if not _is_color_image(image):
            return super().transform(results)
        if self._last is None or self._last[0] is not image:
            self._last = image, cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
        results['img'] = self._last[1]
        if image.flags.writeable:  # It may be changed before the next sample.
            self._last = None
        results = super().transform(results)
        results['img'] = cv2.cvtColor(results['img'], cv2.COLOR_BGRA2BGR)
        return results

    @staticmethod
    def _fix_aspect_ratio(bbox_scale: np.ndarray, aspect_ratio: float) -> np.ndarray:
        width, height = bbox_scale[:, :1], bbox_scale[:, 1:]
        is_wide = width > height * aspect_ratio
        return np.where(
            [True, False],
            np.where(is_wide, width, height * aspect_ratio),
            np.where(is_wide, width / aspect_ratio, height),
        )


def _is_color_image(image) -> bool:
    return isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,)


@TRANSFORMS.register_module()
class PackPoseInputs(datasets.transforms.PackPoseInputs):
    """Pack the image and the labels of a sample, with the results of MMPose's `PackPoseInputs`.

    MMPose copies all metainfo, among it the annotation with the outline of the person, and PyTorch
    transposes the image byte by byte. Here, the data sample gets the entries of `results`
    themselves, and OpenCV separates the channels of the image.
    """

    def transform(self, results: dict) -> dict:
        """Pack the sample.

        Args:
            results: See MMPose's `PackPoseInputs`.

        Returns:
            `inputs`, the image (3, H, W), and `data_samples`, a `PoseDataSample`.
        """
        bare = copy.copy(self)
        bare.meta_keys = ()
        image = results.get('img')
        is_color = _is_color_image(image)
        packed = super(PackPoseInputs, bare).transform(
            {**results, 'img': _NO_IMAGE} if is_color else results
        )
        if is_color:
            packed['inputs'] = torch.from_numpy(_split_channels(image))
        sample = packed['data_samples']
        for key in self.meta_keys:
            if key in results:
                sample.set_field(results[key], key, field_type='metainfo')
        return packed


def _split_channels(image: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) as a contiguous array (3, H, W)."""
    planes = np.empty((3, *image.shape[:2]), image.dtype)
    cv2.split(image, [*planes])
    return planes
