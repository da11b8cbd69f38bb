"""HRCoMer's prediction, ours and as the original computes it."""

import re
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules
from torch import Tensor, nn

from pose_backbones.models.backbones.hrcomer import HRCoMer
from pose_backbones.models.layers.shortcuts import plain

MAX_PEOPLE = 30
#: of a random convolution; beside it there is a residual in most cases
_GAIN = 0.5


def device() -> str:
    """A GPU if there is one."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def build(arch: str, size: int) -> nn.Module:
    """Build an estimator that finds as many people as it may.

    Args:
        arch: Of `HRCoMer`.
        size: Side of the images.

    Returns:
        The estimator, in evaluation, with start values.
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
    """Give every weight and statistic a random value that counts, in place.

    Args:
        model: An estimator, on the CPU.
        seed: Of the values; these are such that maps neither fade nor grow
            from layer to layer.
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
    """What the decoder needs of images, as our prediction computes it."""
    return model.head.find(model.extract_feat(images))


@torch.no_grad()
def forward_eagerly(model: nn.Module, images: Tensor) -> dict:
    """The same as the original computes it.

    Each layer by its own operator, the joints of all queries, and of these
    the short offsets, joint by joint.

    Args:
        model: The same estimator.
        images: (N, 3, H, W).

    Returns:
        As `forward`, but for all queries.
    """
    head = model.head
    with plain():
        feats = model.extract_feat(images)
        short = head.refine_head(feats[0])
        return dict(
            confidences=head.confidences_head(feats[1:]),
            joints=[_refine(joints, short) for joints in head.joints_head(feats[1:])],
            heatmaps=head.heatmaps_head(feats[0]),
        )


def _refine(joints: Tensor, short: Tensor) -> Tensor:
    """Add the offsets (N, K, 2, H, W) there to joints (N, h, w, K, 2)."""
    places = 2 * joints / joints.new_tensor(short.shape[:-3:-1]) - 1
    offsets = [
        F.grid_sample(
            short[:, k], places[:, :, :, k], padding_mode='border', align_corners=False
        ).permute(0, 2, 3, 1)
        for k in range(short.shape[1])
    ]
    return joints + torch.stack(offsets, 3)


@torch.no_grad()
def decode(model: nn.Module, outputs: dict) -> list[tuple[Tensor, Tensor]]:
    """Poses (n, K, 2) in pixels and joint scores (n, K) of each image."""
    return model.head.decoder.decode([outputs])


def difference(people: list, others: list) -> float:
    """How far the people found in two ways are apart.

    Args:
        people, others: Of `decode`.

    Returns:
        The most pixels between a coordinate and that of the nearest person
        of the same image; infinite if there are not as many.
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


def peak_memory(
    way: Callable[[nn.Module, Tensor], dict], arch: str, size: int, batch: int, threads: int
) -> int:
    """Measure the memory of a prediction, in a new process.

    Args:
        way: `forward` or `forward_eagerly`.
        arch, size: See `build`.
        batch: How many images.
        threads: Of PyTorch.

    Returns:
        The most bytes in use at a time, above those with the weights: on a
        GPU, allocated; on a CPU, resident.
    """
    with ProcessPoolExecutor(1, get_context('spawn')) as pool:
        return pool.submit(_peak, way, arch, size, batch, threads).result()


def _peak(way: Callable, arch: str, size: int, batch: int, threads: int) -> int:
    torch.set_num_threads(threads)
    model = build(arch, size).to(device())
    images = torch.randn(batch, 3, size, size).to(device())
    if device() == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        decode(model, way(model, images))
        return torch.cuda.max_memory_allocated() - before
    with suppress(OSError):  # where it cannot be, the peak so far counts
        Path('/proc/self/clear_refs').write_text('5')
    before = _most_resident()
    decode(model, way(model, images))
    return _most_resident() - before


def _most_resident() -> int:
    """The most bytes of this process in memory so far, or since a reset."""
    status = Path('/proc/self/status')
    if status.exists():  # where getrusage counts what the parent had, too
        peak = re.search(r'^VmHWM:\s+(\d+) kB$', status.read_text(), re.M)
        return 1024 * int(peak[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
