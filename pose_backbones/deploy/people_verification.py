"""Compare an exported model of whole images with PyTorch."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from ..synthetic import render_scene
from .image_model import ImageModel, People
from .precisions import Precision
from .runtimes import Runtime
from .verification import Difference, change_outputs

#: number of random changes of the outputs
_TRIALS = 4
_LARGEST = 4096  # side of a synthetic image
_ASPECT_RATIO = 4 / 3
_SMALL = (192, 256)  # width and height


def example_images(model: ImageModel, settings: dict, is_small: bool = False) -> list[np.ndarray]:
    """Return batches of synthetic images of several people.

    Args:
        model: The model.
        settings: `image_settings` of its config.
        is_small: Whether to leave out the large image.

    Returns:
        Batches (N, H, W, 3), uint8, BGR: two images of the fixed size of the model; or without a
        fixed size, two small images in portrait format, and a large one in landscape format.
    """
    rng = np.random.default_rng(0)
    if model.image_size is not None:
        shapes = [(2, model.image_size)]
    else:
        side, divisor = settings['short_side'], settings['size_divisor']
        longer = -(-int(side * _ASPECT_RATIO) // divisor) * divisor
        shapes = [(2, min(_SMALL, (side, longer)))]
        if not is_small:
            shapes.append((1, (longer, side)))
    batches = []
    for count, size in shapes:
        drawn = tuple(np.minimum(size, _LARGEST).tolist())
        images = [cv2.resize(render_scene(rng, drawn).image, size) for _ in range(count)]
        batches.append(np.stack(images))
    return batches


@dataclass(frozen=True)
class _Match:
    """The most similar person of another result, for each of P people.

    Args:
        distance: (N, P, K), distance of the keypoints in pixels.
        scores: (N, P, K), scores of the other person.
    """

    distance: Tensor
    scores: Tensor


@torch.inference_mode()
def compare_people(
    model: ImageModel, runtime: Runtime, batches: list[np.ndarray], precision: Precision
) -> Difference:
    """Compare an exported model with the original one.

    A small change can exchange two people of similar confidence, or add and remove people.
    Therefore, a person is compared with the most similar one, and only if it is still found after
    changes of the outputs of the network of the size that the precision may cause.

    Args:
        model: The original model.
        runtime: The exported model. It is called with one image and with all of a batch.
        batches: Images (N, H, W, 3), uint8, BGR.
        precision: Precision of the exported model.

    Returns:
        The differences.
    """
    generator = torch.Generator().manual_seed(0)
    distances, score_distances, stable, stable_scores = [], [], [], []
    largest = 1e-12
    for images in batches:
        outputs = model.outputs(torch.from_numpy(images))
        expected = model.decode(outputs)
        scores = expected[1]
        largest = max(largest, float(scores.max()))
        spread, score_spread = torch.zeros_like(scores), torch.zeros_like(scores)
        for _ in range(_TRIALS):
            other = _match(
                expected, model.decode(change_outputs(outputs, precision.noise, generator))
            )
            spread = spread.maximum(other.distance)
            score_spread = score_spread.maximum((other.scores - scores).abs())
        for part in (slice(1), slice(None)):
            people = [torch.from_numpy(output) for output in runtime(images[part])]
            actual = _match([x[part] for x in expected], people)
            distances.append(actual.distance)
            score_distances.append((actual.scores - scores[part]).abs())
            stable.append(spread[part] <= precision.pixels)
            stable_scores.append(score_spread[part])
    distance = torch.cat([x.flatten() for x in distances])
    score_distance = torch.cat([x.flatten() for x in score_distances])
    is_stable = torch.cat([x.flatten() for x in stable])
    bound = 2 * precision.noise * largest
    compared = is_stable & (torch.cat([x.flatten() for x in stable_scores]) <= bound)
    return Difference(
        keypoints=len(distance),
        stable=float(is_stable.float().mean()),
        mean_pixels=float(distance.mean()),
        max_pixels=_max(distance[is_stable]),
        max_score=_max(score_distance[compared]) / largest,
    )


def _match(people: People | list[Tensor], others: People | list[Tensor]) -> _Match:
    """Find the most similar of other people for each person: the least mean distance."""
    distance = (people[0][:, :, None] - others[0][:, None]).norm(dim=-1)  # (N, P, P, K)
    nearest = distance.mean(-1).argmin(-1)  # (N, P)
    index = nearest[..., None].expand(-1, -1, distance.shape[-1])
    return _Match(distance.gather(2, index[:, :, None])[:, :, 0], others[1].gather(1, index))


def _max(values: Tensor) -> float:
    """Return the largest value, NaN if there is one, 0 if there are no values."""
    return float(values.max()) if values.numel() else 0.0
