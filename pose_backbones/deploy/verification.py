"""Compare an exported model with PyTorch."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.utils import apply_to
from torch import Tensor

from ..errors import ExportError
from ..synthetic import render_scene
from .crop_model import CropModel
from .precisions import Precision
from .runtimes import Runtime

#: number of random changes of the outputs; with 4, keypoints of MSPN whose second peak is ambiguous
#: were taken for stable
_TRIALS = 16
_MIN_SIDE = 24  # of the box of a person, in pixels
#: share of stable keypoints below which a comparison says little, as with random weights
_FEW_STABLE = 0.05


@dataclass(frozen=True)
class Difference:
    """Differences of keypoints and scores.

    Args:
        keypoints: Number of compared keypoints.
        stable: Fraction of the keypoints that are not moved by changes of the outputs of the size
            that the precision may cause. For others, such as those of two equally high peaks, the
            distance has no meaning.
        mean_pixels: Mean distance of all keypoints.
        max_pixels: Largest distance of the stable keypoints.
        max_score: Largest difference of the scores, relative to the largest score.
    """

    keypoints: int
    stable: float
    mean_pixels: float
    max_pixels: float
    max_score: float

    def as_dict(self) -> dict[str, float]:
        """Return the values, rounded."""
        return {name: float(f'{value:.4g}') for name, value in asdict(self).items()}

    def __str__(self) -> str:
        return (
            f'{self.keypoints} keypoints differ by {self.mean_pixels:.3g} pixels on average, the '
            f'{self.stable:.0%} that are stable by at most {self.max_pixels:.3g} pixels, and '
            f'scores by at most {100 * self.max_score:.3g}%'
        )


def example_crops(input_size: tuple[int, int], count: int = 8, seed: int = 0) -> np.ndarray:
    """Return crops of synthetic people.

    Args:
        input_size: Width and height.
        count: Number of crops, N.
        seed: Seed of the random images.

    Returns:
        (N, H, W, 3), uint8, BGR.
    """
    rng = np.random.default_rng(seed)
    crops: list[np.ndarray] = []
    while len(crops) < count:
        scene = render_scene(rng)
        for person in scene.people:
            x, y, width, height = person.bbox
            if not person.iscrowd and min(width, height) >= _MIN_SIDE:
                crop = scene.image[y : y + height, x : x + width]
                crops.append(cv2.resize(crop, input_size))
    return np.stack(crops[:count])


@torch.inference_mode()
def compare(
    model: CropModel, runtime: Runtime, crops: np.ndarray, precision: Precision
) -> Difference:
    """Compare an exported model with the original one.

    Args:
        model: The original model.
        runtime: The exported model. It is called with one crop and with all.
        crops: (N, H, W, 3), uint8, BGR.
        precision: Precision of the exported model.

    Returns:
        The differences.
    """
    outputs = model.outputs(torch.from_numpy(crops))
    expected, expected_scores = model.decode(outputs)
    spread = torch.zeros(expected.shape[:2])
    generator = torch.Generator().manual_seed(0)
    for _ in range(_TRIALS):
        changed, _ = model.decode(change_outputs(outputs, precision.noise, generator))
        spread = spread.maximum((changed - expected).norm(dim=-1))
    stable = (spread <= precision.pixels).numpy()
    parts = [runtime(crops[:1]), runtime(crops)]
    keypoints = np.concatenate([part[0] for part in parts])
    scores = np.concatenate([part[1] for part in parts])
    index = [0, *range(len(crops))]
    distance = np.linalg.norm(keypoints - expected.numpy()[index], axis=-1)
    score_distance = np.abs(scores - expected_scores.numpy()[index])
    return Difference(
        keypoints=distance.size,
        stable=float(stable.mean()),
        mean_pixels=float(distance.mean()),
        max_pixels=float(distance[stable[index]].max(initial=0)),
        max_score=float(score_distance.max() / max(float(expected_scores.abs().max()), 1e-12)),
    )


def check_difference(difference: Difference, precision: Precision) -> None:
    """Raise an exception if a difference is too large for the precision.

    A warning is logged if hardly any keypoint can be compared.

    Args:
        difference: The difference from `compare`.
        precision: Precision of the exported model.

    Raises:
        ExportError: With the differences.
    """
    # NaN is too large, too.
    if not (
        difference.max_pixels <= precision.pixels and difference.max_score <= 2 * precision.noise
    ):
        raise ExportError(
            f'the exported model deviates from PyTorch: {difference}; expected at most '
            f'{precision.pixels} pixels and {200 * precision.noise:.3g}% with {precision.name}'
        )
    if difference.stable < _FEW_STABLE:
        print_log(
            f'only {difference.stable:.1%} of the keypoints could be compared in '
            f'{precision.name}, since small changes move the others, as with random weights: '
            'the exported model may deviate from PyTorch',
            'current',
            logging.WARNING,
        )


def change_outputs(outputs: Any, noise: float, generator: torch.Generator) -> Any:
    """Add random numbers, up to `noise` times the range of each tensor."""

    def change(output: Tensor) -> Tensor:
        size = noise * float(output.max() - output.min())
        return output + size * (2 * torch.rand(output.shape, generator=generator) - 1)

    return apply_to(outputs, torch.is_tensor, change)
