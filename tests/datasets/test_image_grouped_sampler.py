"""Tests of the sampler that groups samples by image, and of its cache of images."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset
from torch.utils.data import DataLoader

from pose_backbones.datasets.image_cache import ImageCache, KeptIndex, read_cached
from pose_backbones.datasets.image_grouped_sampler import ImageGroupedSampler
from pose_backbones.datasets.transforms.loading import LoadImage
from pose_backbones.engine.seeded_loading import seed_loader, seeded_batch_sampler
from pose_backbones.errors import ConfigError
from tests.helpers.image_samples import COUNTS, CountReads, People, pixels, scribble, write_images


def make_sampler(monkeypatch, counts=COUNTS, batch=4, workers=2, rank=0, world_size=1, **options):
    monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world_size))
    sampler = ImageGroupedSampler(People(counts), **{'seed': 7, **options})
    sampler.use_loader(batch, workers)
    return sampler


def batches_of_images(sampler) -> dict[int, list[int]]:
    """Return image → indices of the batches of its samples."""
    batches = {}
    for position, index in enumerate(sampler):
        image = int(sampler.images[index])
        batches.setdefault(image, []).append(position // sampler.batch_size)
    return batches


@pytest.mark.parametrize('epoch', [0, 1, 5])
@pytest.mark.parametrize(('batch', 'workers', 'window'), [(1, 0, 1), (4, 2, 1000), (32, 5, 12)])
def test_each_sample_is_used_once(batch, workers, window, epoch, monkeypatch):
    sampler = make_sampler(monkeypatch, batch=batch, workers=workers, window=window)
    sampler.set_epoch(epoch)
    assert sorted(sampler) == list(range(sum(COUNTS))) == list(range(len(sampler)))


@pytest.mark.parametrize('round_up', [True, False])
@pytest.mark.parametrize('count', [1, 2, 23, 265])
def test_processes_share_the_samples(round_up, count, monkeypatch):
    counts = np.diff(np.append(np.cumsum([0, *COUNTS]).clip(max=count), count))
    shares = []
    for rank in range(3):
        sampler = make_sampler(
            monkeypatch, counts[counts > 0], rank=rank, world_size=3, round_up=round_up
        )
        shares.append(list(sampler))
        assert len(shares[-1]) == len(sampler)
    used = Counter(index for share in shares for index in share)
    assert sorted(used) == list(range(count))
    total = count + (-count % 3 if round_up else 0)
    assert used.total() == total
    assert max(used.values()) == (-(-total // count))
    # An image belongs to one process, except for those at the two borders and repeated ones.
    images = [set(sampler.images[share]) for share in shares]
    assert sum(map(len, images)) <= len(counts[counts > 0]) + 2 + (total - count)


def test_order_depends_on_seed_and_epoch_only(monkeypatch):
    first, same, other = (make_sampler(monkeypatch, seed=seed) for seed in (7, 7, 8))
    assert list(first) == list(first) == list(same)
    assert list(first) != list(other)
    same.set_epoch(1)
    assert list(first) != list(same)
    first.set_epoch(1)
    assert list(first) == list(same)


@pytest.mark.parametrize('workers', [0, 1, 4])
def test_people_of_an_image_are_in_different_batches_of_one_worker(workers, monkeypatch):
    sampler = make_sampler(monkeypatch, COUNTS * 20, batch=16, workers=workers, window=400)
    groups = max(1, workers)
    batches = batches_of_images(sampler)
    split = [image for image, places in batches.items() if len({b % groups for b in places}) > 1]
    assert len(split) < groups
    counts = np.bincount(sampler.images)
    distances = {image: np.diff(places) for image, places in batches.items() if image not in split}
    assert min(distances[image].min() for image in distances if 1 < counts[image] < 5) > 0
    # Half of the window of 400 images with several people has 952 samples, or 59 batches. At both
    # ends of the epoch, where the windows of fewer images overlap, the distances are shorter.
    spans = np.array([distances[image].sum() for image in distances if counts[image] == 2])
    assert np.median(spans) == pytest.approx(59, abs=6)
    assert spans.min() > 59 / 4
    assert spans.max() < 59 * 1.3


@pytest.mark.parametrize('window', [8, 40, 10_000])
def test_at_most_window_images_are_kept(window, monkeypatch):
    """The images that are kept are known at each position: from the first to the last sample."""
    sampler = make_sampler(monkeypatch, COUNTS * 10, batch=8, workers=4, window=window)
    kept, most = set(), 0
    for worker in range(4):
        kept.clear()
        largest = 0
        for position, index in enumerate(sampler):
            if position // 8 % 4 != worker:
                continue
            image = sampler.images[index]
            (kept.add if isinstance(index, KeptIndex) else kept.discard)(image)
            largest = max(largest, len(kept))
        assert not kept
        most += largest
    assert most <= window
    assert most > 0.5 * min(window, 560)


def test_positions_are_uniform(monkeypatch):
    """Each sample has the same probability in each tenth of the epoch, whatever its image."""
    epochs, parts = 600, 10
    sampler = make_sampler(monkeypatch, batch=5, workers=2, window=20)
    table = np.zeros((len(sampler), parts))
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        order = sampler.order()[0]
        table[order, np.arange(len(order)) * parts // len(order)] += 1
    counts = np.repeat(COUNTS, COUNTS)
    for group in (counts == 1, counts == 2, (counts > 2) & (counts < 8), counts >= 8):
        share = table[group].mean(0) / epochs
        np.testing.assert_allclose(share, 1 / parts, atol=0.012)
    # Chi-squared of the single samples: its mean is the number of degrees of freedom.
    expected = epochs / parts
    chi_squared = ((table - expected) ** 2 / expected).sum(1)
    assert chi_squared.mean() == pytest.approx(parts - 1, rel=0.1)


def test_neighbours_are_independent(monkeypatch):
    """Two people of different images are as often in the same batch as in a uniform shuffle."""
    epochs, batch = 400, 5
    sampler = make_sampler(monkeypatch, batch=batch, workers=1, window=20)
    images, together = sampler.images, np.zeros((len(sampler), len(sampler)))
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for rows in sampler.order()[0][:265].reshape(-1, batch):
            together[np.ix_(rows, rows)] += 1
    other = images[:, None] != images
    probability = (batch - 1) / (len(sampler) - 1)
    assert together[other].mean() / epochs == pytest.approx(probability, rel=0.05)
    pairs = together[other] / epochs
    assert pairs.std() == pytest.approx((probability * (1 - probability) / epochs) ** 0.5, rel=0.15)
    same = ~other & ~np.eye(len(sampler), dtype=bool)
    assert together[same].mean() / epochs < 0.5 * probability


def test_first_person_is_any_of_the_image(monkeypatch):
    sampler = make_sampler(monkeypatch, [6] * 50)
    first = Counter()
    for epoch in range(120):
        sampler.set_epoch(epoch)
        order = sampler.order()[0]
        first.update(order[np.unique(order // 6, return_index=True)[1]] % 6)
    assert sorted(first) == list(range(6))
    np.testing.assert_allclose(np.array(list(first.values())) / 6000, 1 / 6, atol=0.02)


@pytest.fixture
def images(tmp_path) -> Path:
    """Write an image with random pixels for each of `COUNTS`."""
    return write_images(tmp_path)


@pytest.fixture
def people(images) -> People:
    """Return samples of the images, whose transforms write into them."""
    return People(COUNTS, images, [LoadImage(), scribble, pixels])


def load_all(data, workers=0, **options) -> tuple[list[tuple], DataLoader]:
    """Return the samples of two epochs, and their loader."""
    loader = DataLoader(
        data,
        batch_size=4,
        sampler=ImageGroupedSampler(data, seed=1, **options),
        num_workers=workers,
        collate_fn=list,
        persistent_workers=workers > 0,
    )
    seed_loader(loader, seed=1)
    loaded = []
    for epoch in range(2):
        seeded_batch_sampler(loader).start_epoch(epoch)
        loader.sampler.set_epoch(epoch)
        loaded += [sample for batch in loader for sample in batch]
    return loaded, loader


def test_images_are_read_once_per_epoch(images, people, monkeypatch):
    read = CountReads(monkeypatch)
    loaded, loader = load_all(people)
    assert Counter(read.paths) == {str(images / f'{k}.png'): 2 for k in range(len(COUNTS))}
    cache = loader.dataset.__getitems__.keywords['cache']
    assert len(cache) == cache.num_bytes == 0
    assert 10 * 144 < cache.peak < len(COUNTS) * 144
    assert len(loaded) == 2 * sum(COUNTS)


def test_wrapped_datasets_are_grouped(images, people, monkeypatch):
    read = CountReads(monkeypatch)
    loaded, _ = load_all(ConcatDataset([People([2, 1], images, [LoadImage(), pixels]), people]))
    # The first two images are in both datasets.
    assert Counter(read.paths) == {str(images / f'{k}.png'): 2 for k in range(len(COUNTS))}
    assert len(loaded) == 2 * (sum(COUNTS) + 3)


@pytest.mark.parametrize('workers', [0, 2])
def test_samples_are_those_without_cache(workers, people, monkeypatch):
    """Transforms that write into the image in place do not change the cached image."""
    cached, _ = load_all(people, workers)
    monkeypatch.setattr(ImageCache, 'read', lambda self, key, read, keep: read())
    plain, _ = load_all(people, workers)
    for sample, other in zip(cached, plain, strict=True):
        assert sample[:2] == other[:2]
        np.testing.assert_array_equal(sample[2], other[2])


def test_worker_loads_all_people_of_an_image(people):
    loaded, loader = load_all(people, workers=3)
    epoch = len(loader.sampler)
    for samples in (loaded[:epoch], loaded[epoch:]):
        workers = {}
        for path, _, _, worker in samples:
            workers.setdefault(path, set()).add(worker)
        assert set().union(*workers.values()) == {0, 1, 2}
        assert sum(len(ids) > 1 for ids in workers.values()) <= 2


def test_images_beyond_the_limit_are_read_again(people, monkeypatch):
    read = CountReads(monkeypatch)
    limit = 5 * 144 / 2**20
    with pytest.warns(UserWarning, match='cache of decoded images is full'):
        loaded, loader = load_all(people, cache_mb=limit)
    assert loader.dataset.__getitems__.keywords['cache'].peak == 5 * 144
    assert 2 * len(COUNTS) < len(read.paths) < len(loaded)


def test_cache_returns_arrays_of_their_own():
    cache = ImageCache(1000)
    zeros = np.zeros(100, np.uint8)
    for index, expected in ((KeptIndex(0), 100), (KeptIndex(1), 100), (2, 0)):
        with cache.loading(index):
            image = read_cached('image', zeros.copy)
            # The image of another sample, which a transform such as mosaic mixes in.
            assert read_cached('image', lambda: 'other') == 'other'
        assert not image.any()
        image += 1
        assert cache.num_bytes == expected
    assert read_cached('image', lambda: 'outside') == 'outside'


def test_epoch_starts_with_an_empty_cache():
    cache = ImageCache(1000)
    for epoch, expected in ((0, 1), (0, 1), (1, 2)):
        cache.start_epoch(epoch)
        with cache.loading(KeptIndex(0)):
            assert read_cached('image', lambda epoch=epoch: np.full(1, epoch + 1)) == [expected]


def test_sampler_requires_the_batch_size():
    with pytest.raises(ConfigError, match='seed_loader'):
        list(ImageGroupedSampler(People(COUNTS), seed=0))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(shuffle=False), 'shuffle is False'),
        (dict(window=0), 'window is 0'),
        (dict(window=2.5), 'window is 2.5'),
        (dict(cache_mb=0), 'cache_mb is 0'),
        (dict(cache_mb='1 GB'), "cache_mb is '1 GB'"),
    ],
)
def test_invalid_arguments_raise(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ImageGroupedSampler(People(COUNTS), **options)


class LoadImageFromFile:
    """A transform that does not use the cache."""

    def __call__(self, results: dict) -> dict:
        return results


def test_datasets_without_images_raise():
    with pytest.raises(ConfigError, match='samples of range by image'):
        ImageGroupedSampler(range(5))
    with pytest.raises(ConfigError, match="LoadImageFromFile.*type='pose_backbones.LoadImage'"):
        ImageGroupedSampler(People(COUNTS, pipeline=[LoadImageFromFile()]))
