"""Operations on heatmaps with which a batch is decoded, see `batched`."""

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: coordinates of a keypoint whose map has no positive value
INVALID = -1.0


class GaussianBlur(nn.Module):
    """Smooth maps as `cv2.GaussianBlur` with a standard deviation of 0.

    Args:
        size: Side of the kernel in cells, odd.
        padding_mode: Padding of the maps, see `torch.nn.functional.pad`.
    """

    kernel: Tensor

    def __init__(self, size: int, padding_mode: str = 'constant') -> None:
        super().__init__()
        kernel = cv2.getGaussianKernel(size, 0, cv2.CV_64F)[:, 0]
        self.register_buffer('kernel', torch.tensor(kernel, dtype=torch.float32))
        self.radius = size // 2
        self.padding_mode = padding_mode

    def forward(self, maps: Tensor) -> Tensor:
        """Smooth maps (N, K, H, W)."""
        padded = _without_tf32(F.pad(maps, (self.radius,) * 4, self.padding_mode))
        kernel = self.kernel.to(padded.dtype)
        rows = F.conv2d(padded.flatten(0, 1)[:, None], kernel[None, None, None])
        smoothed = F.conv2d(rows, kernel[None, None, :, None])[:, 0].reshape(maps.shape)
        return smoothed.to(maps.dtype)

    def keep_maximum(self, maps: Tensor) -> Tensor:
        """Smooth maps (N, K, H, W), and scale each so that its maximum does not change."""
        smoothed = self(maps)
        return smoothed * (maps.amax((-2, -1), True) / smoothed.amax((-2, -1), True))

    def keep_maximum_1d(self, vectors: Tensor) -> Tensor:
        """Smooth vectors (N, K, L), and scale each so that its maximum does not change."""
        padded = _without_tf32(F.pad(vectors, (self.radius,) * 2)).flatten(0, 1)[:, None]
        kernel = self.kernel.to(padded.dtype)[None, None]
        smoothed = F.conv1d(padded, kernel)[:, 0].reshape(vectors.shape).to(vectors.dtype)
        return smoothed * (vectors.amax(-1, True) / smoothed.amax(-1, True))


def _without_tf32(maps: Tensor) -> Tensor:
    """Return maps on a GPU in float64, since cuDNN convolves float32 in TF32 by default."""
    return maps.double() if maps.is_cuda else maps


def find_peaks(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Find the highest cell of each map, the first one if there are several.

    Args:
        maps: (N, K, H, W).

    Returns:
        Cells (N, K, 2), x and y as float32, -1 for maps without a positive value; and the values
        (N, K).
    """
    values, index = maps.flatten(2).max(-1)
    cells = unravel(index, maps.shape[-1])
    return torch.where((values <= 0)[..., None], INVALID, cells), values


def unravel(index: Tensor, width: int) -> Tensor:
    """Convert indices of flat maps (...) to cells (..., 2), x and y as float32."""
    return torch.stack((index % width, index // width), -1).float()


def last_cell(maps: Tensor) -> Tensor:
    """Return x and y (2,) of the last cell of maps (N, K, H, W), as float32."""
    height, width = maps.shape[-2:]
    return torch.tensor([width - 1, height - 1], dtype=torch.float32, device=maps.device)


def read_cells(maps: Tensor, cells: Tensor, dx: int = 0, dy: int = 0) -> Tensor:
    """Read a cell of each map; positions outside are moved to the edge.

    Args:
        maps: (N, K, H, W).
        cells: (N, K, 2), integral x and y.
        dx, dy: Offset of the cells.

    Returns:
        (N, K).
    """
    height, width = maps.shape[-2:]
    x, y = cells.long().unbind(-1)
    index = (y + dy).clamp(0, height - 1) * width + (x + dx).clamp(0, width - 1)
    return maps.flatten(2).gather(-1, index[..., None])[..., 0]


def shift_directions(maps: Tensor, points: Tensor, low: tuple[int, int]) -> Tensor:
    """Return the directions of the higher neighbours of cells (N, K, 2), 0 near the border.

    Args:
        maps: (N, K, H, W).
        points: Cells (N, K, 2).
        low: A coordinate has a direction if it is larger than `low[0]` and less than that of the
            last cell, and the other coordinate is larger than `low[1]`, as in MMPose.
    """
    height, width = maps.shape[-2:]
    x, y = points.unbind(-1)
    along, across = low
    has_x = (x > along) & (x < width - 1) & (y > across)
    has_y = (y > along) & (y < height - 1) & (x > across)
    dx = read_cells(maps, points, 1) - read_cells(maps, points, -1)
    dy = read_cells(maps, points, 0, 1) - read_cells(maps, points, 0, -1)
    return torch.stack((dx.sign() * has_x, dy.sign() * has_y), -1)


def newton_step(dx: Tensor, dy: Tensor, dxx: Tensor, dxy: Tensor, dyy: Tensor) -> Tensor:
    """Return the step (..., 2) to the extremum of a quadratic function; 0 if there is none."""
    determinant = dxx * dyy - dxy * dxy
    singular = determinant == 0
    determinant = torch.where(singular, 1.0, determinant)
    step = torch.stack((dxy * dy - dyy * dx, dxy * dx - dxx * dy), -1) / determinant[..., None]
    return torch.where(singular[..., None], 0.0, step).float()


def has_peak(points: Tensor) -> Tensor:
    """Return whether each of the cells of `find_peaks` is one, (N, K, 1)."""
    return (points >= 0).all(-1, keepdim=True)
