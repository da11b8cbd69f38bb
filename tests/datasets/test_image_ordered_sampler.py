"""Tests of the sampler that loads an evaluation image after image."""

from collections import Counter
from itertools import chain, zip_longest

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset, DefaultSampler
from torch.utils.data import DataLoader

from pose_backbones.datasets.image_cache import ImageCache, KeptIndex
from pose_backbones.datasets.image_ordered_sampler import ImageOrderedSampler
from pose_backbones.datasets.transforms.loading import LoadImage
from pose_backbones.engine.seeded_loading import seed_loader
from tests.helpers.image_samples import COUNTS, CountReads, People, pixels, scribble, write_images

SHUFFLED = np.random.default_rng(1).permutation(sum(COUNTS)).tolist()


def in_process(monkeypatch, rank, world_size):
    monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world_size))


def make_sampler(data, group=True, batch=4, workers=0, **options) -> ImageOrderedSampler:
    sampler = ImageOrderedSampler(data, seed=0, **options)
    sampler.group = group
    sampler.use_loader(batch, workers)
    return sampler


def shuffled(data: People) -> People:
    """Return the samples in an order in which those of an image do not follow each other."""
    return People(data.counts, data.folder, data.pipeline.transforms, SHUFFLED)


@pytest.mark.parametrize('order', ['grouped', 'shuffled'])
@pytest.mark.parametrize('round_up', [True, False])
@pytest.mark.parametrize('world_size', [1, 2, 3, 8])
def test_positions_restore_the_order_of_the_default_sampler(
    world_size, round_up, order, monkeypatch
):
    data = People(COUNTS) if order == 'grouped' else shuffled(People(COUNTS))
    shares, results = [], []
    for rank in range(world_size):
        in_process(monkeypatch, rank, world_size)
        default = list(DefaultSampler(data, shuffle=False, round_up=round_up))
        shares.append(default)
        sampler = make_sampler(data, round_up=round_up)
        loaded = list(sampler)
        assert len(loaded) == len(sampler) == len(default)
        results += zip(sampler.positions, loaded, strict=True)
    # MMEngine takes the results of the processes in turn.
    collected = [index for index in chain(*zip_longest(*shares)) if index is not None]
    assert [index for _, index in sorted(results)] == collected
    assert collected[: sum(COUNTS)] == list(range(sum(COUNTS)))


@pytest.mark.parametrize('group', [True, False])
def test_order_is_that_of_the_file_in_one_process(group):
    sampler = make_sampler(People(COUNTS), group)
    assert list(sampler) == list(range(sum(COUNTS)))


def test_samples_keep_their_order_without_grouping(monkeypatch):
    in_process(monkeypatch, 1, 3)
    data = shuffled(People(COUNTS))
    sampler = make_sampler(data, group=False)
    assert list(sampler) == list(DefaultSampler(data, shuffle=False))


@pytest.mark.parametrize('world_size', [1, 4])
def test_images_belong_to_one_process(world_size, monkeypatch):
    data = shuffled(People(COUNTS))
    decoded = 0
    for rank in range(world_size):
        in_process(monkeypatch, rank, world_size)
        sampler = make_sampler(data, workers=1)
        loaded = list(sampler)
        # All samples of an image follow each other.
        changes = np.flatnonzero(np.diff(sampler.images[loaded]))
        assert len(changes) + 1 == len(set(sampler.images[loaded]))
        assert [isinstance(index, KeptIndex) for index in loaded] == [
            at not in changes and at != len(loaded) - 1 for at in range(len(loaded))
        ]
        decoded += sum(not isinstance(index, KeptIndex) for index in loaded)
    assert len(COUNTS) <= decoded <= len(COUNTS) + 2 * world_size


@pytest.mark.parametrize(
    'data',
    [
        People([1] * 5),  # no image has several samples
        range(6),  # images are not known
        People([3, 2], pipeline=[type('LoadImageOther', (), {'__call__': lambda self, x: x})()]),
    ],
)
def test_sampler_is_the_default_one_if_nothing_is_shared(data, monkeypatch):
    in_process(monkeypatch, 1, 2)
    sampler = make_sampler(data)
    loaded = list(sampler)
    assert loaded == list(DefaultSampler(data, shuffle=False))
    assert not any(isinstance(index, KeptIndex) for index in loaded)


def load_all(data, workers=0, group=True, passes=2, **options) -> tuple[list[tuple], DataLoader]:
    """Return the samples of two passes, and their loader."""
    sampler = ImageOrderedSampler(data, seed=1, **options)
    sampler.group = group
    loader = DataLoader(
        data,
        batch_size=4,
        sampler=sampler,
        num_workers=workers,
        collate_fn=list,
        persistent_workers=workers > 0,
    )
    seed_loader(loader, seed=1)
    return [sample for _ in range(passes) for batch in loader for sample in batch], loader


@pytest.fixture
def people(tmp_path) -> People:
    """Return samples whose transforms write into their image."""
    return People(COUNTS, write_images(tmp_path), [LoadImage(), scribble, pixels])


def test_images_are_read_once_per_pass(people, monkeypatch):
    read = CountReads(monkeypatch)
    _, loader = load_all(shuffled(people))
    assert set(Counter(read.paths).values()) == {2}
    assert len(read.paths) == 2 * len(COUNTS)
    cache = loader.dataset.__getitems__.keywords['cache']
    assert cache.peak == 144  # a single image
    assert cache.num_bytes == 0


def test_without_grouping_the_cache_is_limited(people, monkeypatch):
    read = CountReads(monkeypatch)
    with pytest.warns(UserWarning, match='full.*increase eval_cache_mb in the config'):
        _, loader = load_all(shuffled(people), group=False, passes=1, cache_mb=20 * 144 / 2**20)
    assert loader.dataset.__getitems__.keywords['cache'].peak == 20 * 144
    assert len(COUNTS) < len(read.paths) < sum(COUNTS)


def test_datasets_share_images(people, tmp_path, monkeypatch):
    read = CountReads(monkeypatch)
    loaded, _ = load_all(ConcatDataset([People([2, 1], tmp_path, [LoadImage(), pixels]), people]))
    assert len(read.paths) == 2 * len(COUNTS)
    assert len(loaded) == 2 * (3 + sum(COUNTS))


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('group', [True, False])
def test_samples_are_those_without_cache(group, workers, people, monkeypatch):
    """Transforms that write into the image in place do not change the cached image."""
    cached, _ = load_all(shuffled(people), workers, group)
    monkeypatch.setattr(ImageCache, 'read', lambda self, key, read, keep: read())
    plain, _ = load_all(shuffled(people), workers, group)
    for sample, other in zip(cached, plain, strict=True):
        assert sample[:2] == other[:2]
        np.testing.assert_array_equal(sample[2], other[2])


class OtherImage:
    """A transform that reads the image of another sample first."""

    def __init__(self, path) -> None:
        self.path = path

    def __call__(self, results: dict) -> dict:
        LoadImage()(dict(img_path=self.path))
        return results


def test_transforms_may_load_other_images(tmp_path):
    """The sample gets its own image, whichever image is kept."""
    write_images(tmp_path)
    pipeline = [OtherImage(str(tmp_path / '3.png')), LoadImage(), pixels]
    loaded, _ = load_all(People(COUNTS, tmp_path, pipeline))
    for path, _, image, _ in loaded:
        np.testing.assert_array_equal(image, LoadImage()(dict(img_path=path))['img'])


def test_images_between_two_workers_are_read_by_both(people):
    loaded, _ = load_all(people, workers=2, passes=1)
    by_worker = Counter(path for path, worker in {(s[0], s[3]) for s in loaded})
    assert set(by_worker.values()) == {1, 2}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(shuffle=True), 'shuffle is True'),
        (dict(cache_mb=0), 'cache_mb is 0'),
        (dict(cache_mb='1 GB'), "cache_mb is '1 GB'"),
    ],
)
def test_invalid_arguments_raise(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ImageOrderedSampler(People(COUNTS), **options)
