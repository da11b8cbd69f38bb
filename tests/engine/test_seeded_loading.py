"""Tests of batches that data workers send."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import InfiniteSampler, pseudo_collate
from torch.utils.data import DataLoader, Dataset

from pose_backbones.engine.loops import ResumableIterLoop
from pose_backbones.engine.seeded_loading import seed_loader


class Crops(Dataset):
    """Eight images; the last four have different sizes or types."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict:
        size = 3 + (index == 5)
        image = torch.full((3, 2, size), index, dtype=torch.int16 if index == 6 else torch.uint8)
        return dict(inputs=image, data_samples=index)


@pytest.mark.parametrize('workers', [0, 2])
def test_batches_are_lists_of_images(workers):
    loader = DataLoader(Crops(), 4, num_workers=workers, collate_fn=pseudo_collate)
    seed_loader(loader, seed=0)
    batches = list(loader)
    storages = []
    for number, batch in enumerate(batches):
        assert batch['data_samples'] == list(range(4 * number, 4 * number + 4))
        assert isinstance(batch['inputs'], list)
        for index, image in zip(batch['data_samples'], batch['inputs'], strict=True):
            expected = Crops()[index]['inputs']
            assert image.dtype == expected.dtype
            assert image.equal(expected)
            assert image.is_contiguous()
        storages.append(len({image.untyped_storage().data_ptr() for image in batch['inputs']}))
    # A worker sends images of one shape and type as a single tensor.
    assert storages == ([1, 4] if workers else [4, 4])


@pytest.mark.parametrize('workers', [0, 1])
def test_other_batches_are_not_changed(workers):
    loader = DataLoader(torch.arange(6), 3, num_workers=workers)
    seed_loader(loader, seed=0)
    assert [batch.tolist() for batch in loader] == [[0, 1, 2], [3, 4, 5]]


def test_endless_sampler_of_a_dataset_smaller_than_a_batch():
    """The batches of an endless sampler are complete, although its length has none."""
    crops = Crops()
    sampler = InfiniteSampler(crops, shuffle=False, seed=0)
    loader = DataLoader(crops, 10, sampler=sampler, drop_last=True, collate_fn=pseudo_collate)
    seed_loader(loader, 0)
    assert len(loader) == 0
    batches = ResumableIterLoop._batches(SimpleNamespace(dataloader=loader), 1)
    for start in (10, 20, 30):
        indices = next(batches)['data_samples']
        assert indices == [index % 8 for index in range(start, start + 10)]
