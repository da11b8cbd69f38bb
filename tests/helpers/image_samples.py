"""Datasets of several samples per image, for tests of samplers."""

from pathlib import Path

import cv2
import numpy as np
from mmengine.dataset import BaseDataset
from torch.utils.data import get_worker_info

from pose_backbones.datasets.transforms.loading import LoadImage

#: people per image: 2.65 on average, as in COCO, and up to 13
COUNTS = [1] * 44 + [2] * 20 + [3] * 12 + [4] * 8 + [5] * 6 + [6] * 4 + [8] * 3 + [11, 12, 13]


class People(BaseDataset):
    """Samples of several people per image.

    Args:
        counts: Number of people in each image.
        folder: Directory of the images.
        pipeline: Transforms.
        order: Order of the samples. Default: image after image.
    """

    def __init__(self, counts, folder: Path = Path('images'), pipeline=(), order=None) -> None:
        self.counts, self.folder, self.order = counts, folder, order
        super().__init__(pipeline=list(pipeline))

    def load_data_list(self) -> list[dict]:
        samples = [
            dict(img_path=str(self.folder / f'{image}.png'), person=person)
            for image, count in enumerate(self.counts)
            for person in range(count)
        ]
        return samples if self.order is None else [samples[index] for index in self.order]


class CountReads:
    """Record the paths of the images that `LoadImage` reads."""

    def __init__(self, monkeypatch) -> None:
        self.paths = []
        read = LoadImage._read_local_color

        def count(transform, path):
            self.paths.append(path)
            return read(transform, path)

        monkeypatch.setattr(LoadImage, '_read_local_color', count)


def write_images(folder: Path) -> Path:
    """Write an image with random pixels for each of `COUNTS`, and return the folder."""
    rng = np.random.default_rng(0)
    for image in range(len(COUNTS)):
        cv2.imwrite(str(folder / f'{image}.png'), rng.integers(0, 256, (6, 8, 3), np.uint8))
    return folder


def scribble(results: dict) -> dict:
    """Write into the image in place, with random numbers."""
    results['img'][:3] += np.uint8(np.random.randint(1, 256))
    return results


def pixels(results: dict) -> tuple:
    """Return the path, the person, the image, and the worker that loaded it."""
    worker = get_worker_info()
    return results['img_path'], results['person'], results['img'], worker and worker.id
