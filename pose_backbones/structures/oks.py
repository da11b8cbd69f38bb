"""Object keypoint similarity (OKS), as COCO's evaluation defines it.

The similarity of a keypoint to its label is exp(−d² / (2 s² (2σ)²)): d is their distance, s² is the
area of the object, and σ is the labelling error of the keypoint in units of s. The OKS of an object
is the mean over its labelled keypoints.

Source: https://cocodataset.org/#keypoints-eval
"""

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor  # `pose-backbones check` does not need PyTorch

#: Area of a person relative to the area of the bounding box. Stands in for the area of the mask
#: where there are no masks: in CrowdPose's evaluation and in `use_area=False` of xtcocotools.
AREA_OF_BOX = 0.53

Array = TypeVar('Array', np.ndarray, 'Tensor')


def keypoint_similarity(squares: Array, areas: Array, sigmas: Array, eps: float = 0.0) -> Array:
    """Compute the similarity of keypoints to their labels.

    Args:
        squares: (…, K), squared distances d² in square pixels.
        areas: (…), areas s² of the objects in square pixels.
        sigmas: (K,), labelling errors σ of the keypoints.
        eps: Added to the denominator.

    Returns:
        (…, K), from 0 to 1, of the same type as the arguments.
    """
    exponents: Any = -squares / (2 * (areas[..., None] * (2 * sigmas) ** 2) + eps)
    return exponents.exp() if hasattr(exponents, 'exp') else np.exp(exponents)


def distance_at(similarity: float, areas: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Compute the distance at which the similarity has a given value.

    This is the inverse of `keypoint_similarity`.

    Args:
        similarity: Above 0, at most 1.
        areas: (…), areas s² of the objects in square pixels.
        sigmas: (…), labelling errors σ of the keypoints, one for each area.

    Returns:
        (…), distances in pixels.
    """
    return 2 * sigmas * np.sqrt(-2 * np.log(similarity) * areas)
