"""Two variants of HRCoMer's prediction: fused for inference, and as the original computes it."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules
from torch import Tensor, nn

from pose_backbones.models.backbones.hrcomer import HRCoMer
from pose_backbones.models.layers import adaptive_conv, fuse

from ._measure import device, in_new_process, peak_memory

MAX_PEOPLE = 30
#: gain of a random convolution; most convolutions have a parallel residual connection
_GAIN = 0.5


def build(arch: str, size: int) -> nn.Module:
    """Build an estimator that predicts the maximum number of people.

    Args:
        arch: Architecture of `HRCoMer`.
        size: Height and width of the images.

    Returns:
        The estimator, in evaluation mode, with initial weights.
    """
    register_all_modules()
    init_default_scope('mmpose')
    backbone = dict(type='pose_backbones.HRCoMer', arch=arch)
    name = HRCoMer.arch_aliases.get(arch, arch)
    decoder = dict(
        type='pose_backbones.MultiScaleJoints',
        input_size=(size, size),
        heatmap_size=(size // 4, size // 4),
        max_num_people=MAX_PEOPLE,
        score_threshold=0.0,
    )
    return MODELS.build(
        dict(
            type='pose_backbones.HRCoMerEstimator',
            backbone=backbone,
            head=dict(
                type='pose_backbones.HRCoMerHead',
                decoder=decoder,
                in_channels=HRCoMer.arch_settings[name]['embed_dims'],
            ),
        )
    ).eval()


@torch.no_grad()
def fill(model: nn.Module, seed: int) -> None:
    """Fill weights and statistics with random values, in place.

    Args:
        model: An estimator, on the CPU.
        seed: Random seed. The scale of the values keeps the magnitude of maps from layer to layer.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if name.endswith('running_var'):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point() and value.ndim > 1:
            value.normal_(std=_GAIN * value[0].numel() ** -0.5, generator=generator)
        elif value.is_floating_point():
            value.normal_(mean=float(name.endswith('weight')), std=0.2, generator=generator)


@torch.no_grad()
def forward(model: nn.Module, images: Tensor) -> dict:
    """Compute the inputs of the decoder as `HRCoMerHead.predict` does.

    Args:
        model: An estimator, fused or not.
        images: (N, 3, H, W).

    Returns:
        See `HRCoMerHead.forward_candidates`.
    """
    return model.head.forward_candidates(model.extract_feat(images))


@torch.no_grad()
def forward_eagerly(model: nn.Module, images: Tensor) -> dict:
    """Compute the inputs of the decoder as the original code does.

    Each layer is computed by its own operator. The joints of all queries are computed, and their
    short offsets joint by joint.

    Args:
        model: An estimator, not fused.
        images: (N, 3, H, W).

    Returns:
        As `forward`, for all queries.
    """
    head = model.head
    with mock.patch.object(adaptive_conv, 'deform', adaptive_conv.deform_by_operator):
        feats = model.extract_feat(images)
        short = head.refine_head(feats[0])
        return dict(
            confidences=head.confidences_head(feats[1:]),
            joints=[_refine(joints, short) for joints in head.joints_head(feats[1:])],
            heatmaps=head.heatmaps_head(feats[0]),
        )


@dataclass(frozen=True)
class Variant:
    """Variant of the prediction.

    Attributes:
        prepare: Returns the estimator that is passed to `forward`.
        forward: Returns the input of the decoder, from the estimator and images (N, 3, H, W).
    """

    prepare: Callable[[nn.Module], nn.Module]
    forward: Callable[[nn.Module, Tensor], dict]


def unchanged(model: nn.Module) -> nn.Module:
    """Return the model itself."""
    return model


VARIANTS = {'fused': Variant(fuse, forward), 'eager': Variant(unchanged, forward_eagerly)}


def _refine(joints: Tensor, short: Tensor) -> Tensor:
    """Add the offsets (N, K, 2, H, W), sampled at the joints, to joints (N, h, w, K, 2)."""
    grid = 2 * joints / joints.new_tensor(short.shape[:-3:-1]) - 1
    offsets = [
        F.grid_sample(
            short[:, k], grid[:, :, :, k], padding_mode='border', align_corners=False
        ).permute(0, 2, 3, 1)
        for k in range(short.shape[1])
    ]
    return joints + torch.stack(offsets, 3)


@torch.no_grad()
def decode(model: nn.Module, outputs: dict) -> list[tuple[Tensor, Tensor]]:
    """Return poses (n, K, 2) in pixels and joint scores (n, K) of each image."""
    return model.head.decoder.decode([outputs])


def difference(people: list, others: list) -> float:
    """Return the distance between the people that two variants predict.

    Args:
        people, others: Outputs of `decode`.

    Returns:
        Largest difference in pixels of a coordinate from that of the nearest person of the same
        image; infinite if the numbers of people differ.
    """
    worst = 0.0
    for (poses, _), (other_poses, _) in zip(people, others, strict=True):
        if len(poses) != len(other_poses):
            return float('inf')
        if not len(poses):
            continue
        gaps = (poses[:, None] - other_poses).abs().amax((2, 3))
        worst = max(worst, gaps.amin(0).max().item(), gaps.amin(1).max().item())
    return worst


def prediction_memory(variant: Variant, arch: str, size: int, batch: int, threads: int) -> int:
    """Measure the memory of a prediction, in a new process.

    Args:
        variant: The variant to measure.
        arch, size: See `build`.
        batch: Number of images.
        threads: Number of PyTorch's threads.

    Returns:
        Peak memory in bytes minus the memory of the model: allocated memory on a GPU, resident
        memory on a CPU.
    """
    return in_new_process(_prediction_memory, variant, arch, size, batch, threads)


def _prediction_memory(variant: Variant, arch: str, size: int, batch: int, threads: int) -> int:
    torch.set_num_threads(threads)
    model = variant.prepare(build(arch, size).to(device()))
    images = torch.randn(batch, 3, size, size).to(device())
    if device() == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        decode(model, variant.forward(model, images))
        return torch.cuda.max_memory_allocated() - before
    with suppress(OSError):  # if the peak cannot be reset, the peak so far is used
        Path('/proc/self/clear_refs').write_text('5')
    before = peak_memory()
    decode(model, variant.forward(model, images))
    return peak_memory() - before
