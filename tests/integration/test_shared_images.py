"""Tests of evaluations that decode an image once for all its boxes."""

import json
import pickle
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.cli.test import main
from pose_backbones.datasets.transforms.loading import LoadImage
from pose_backbones.engine.grouped_evaluation import OrderedEvaluator
from tests.helpers.tools import run_together, run_tool
from tests.integration.conftest import end_data_workers


@pytest.fixture(scope='module')
def detections(synthetic, tmp_path_factory) -> dict[str, Path]:
    """Files with four or five detections of each person, 89 in all, in several orders."""
    content = json.loads((synthetic / 'annotations/person_keypoints_val.json').read_text())
    rng = np.random.default_rng(0)
    entries = [
        dict(
            image_id=person['image_id'],
            category_id=1,
            bbox=(np.array(person['bbox']) + rng.normal(0, 3, 4)).round(2).tolist(),
            score=round(rng.uniform(0.2, 1), 4),
        )
        for person in content['annotations']
        for _ in range(5)
    ][:89]
    entries.sort(key=lambda entry: entry['image_id'])
    shuffled = random.Random(0).sample(entries, len(entries))
    folder = tmp_path_factory.mktemp('detections')
    for name, order in (('sorted', entries), ('shuffled', shuffled)):
        (folder / f'{name}.json').write_text(json.dumps(order))
    return {name: folder / f'{name}.json' for name in ('sorted', 'shuffled')}


def arguments(folder: Path, config, weights, synthetic, boxes, cache_mb, *more, batch=4) -> list:
    """Return the arguments of a test that writes all its outputs to a folder."""
    return [
        *(config, weights, '--out', folder / 'metrics.json', '--dump', folder / 'dump.pkl'),
        *('--data-root', synthetic, '--work-dir', folder / 'work', *more, '--cfg-options'),
        f'eval_cache_mb={cache_mb}',
        f'test_dataloader.dataset.bbox_file={boxes}',
        f'test_dataloader.batch_size={batch}',
        'test_evaluator.score_mode=bbox_rle',
        f'test_evaluator.outfile_prefix={folder / "results"}',
    ]


def assert_equal_outputs(folder: Path, expected: Path) -> None:
    """Check that the metrics, the results file and the dump of two tests are equal."""
    for name in ('metrics.json', 'results.keypoints.json'):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    dumps = [pickle.loads((path / 'dump.pkl').read_bytes()) for path in (folder, expected)]
    assert len(dumps[0]) == 89
    np.testing.assert_equal(*dumps)


@pytest.fixture
def reads(monkeypatch) -> Counter:
    """Count the images that this process reads."""
    counts = Counter()
    read = LoadImage._read_local_color

    def count(transform, path):
        counts[path] += 1
        return read(transform, path)

    monkeypatch.setattr(LoadImage, '_read_local_color', count)
    return counts


@pytest.mark.parametrize('order', ['sorted', 'shuffled'])
@pytest.mark.parametrize('workers', [0, 2])
def test_outputs_are_those_of_the_order_of_the_file(
    workers, order, detections, reads, tiny_config, weights, synthetic, tmp_path, monkeypatch
):
    ordered = []
    evaluate = OrderedEvaluator.evaluate
    monkeypatch.setattr(
        OrderedEvaluator,
        'evaluate',
        lambda self, size: ordered.append(size) or evaluate(self, size),
    )
    loading = (
        f'test_dataloader.num_workers={workers}',
        (f'test_dataloader.persistent_workers={workers > 0}'),
    )
    read = []
    for name, cache_mb in (('plain', 0), ('shared', 64)):
        (tmp_path / name).mkdir()
        reads.clear()
        common = tiny_config, weights, synthetic, detections[order], cache_mb
        main([str(a) for a in arguments(tmp_path / name, *common)] + list(loading))
        end_data_workers()
        read.append(reads.total())
    assert ordered == [89]
    if not workers:
        # The images that the checks before the test read are the same.
        images = {entry['image_id'] for entry in json.loads(detections[order].read_text())}
        assert read[0] - read[1] == 89 - len(images) > 70
    assert_equal_outputs(tmp_path / 'shared', tmp_path / 'plain')


@pytest.mark.parametrize('order', ['sorted', 'shuffled'])
def test_several_processes(order, detections, tiny_config, weights, synthetic, tmp_path):
    """Three processes, among which 89 samples are not divided evenly, and one process."""
    for name, cache_mb in (('plain', 0), ('shared', 64)):
        (tmp_path / name).mkdir()
        common = tiny_config, weights, synthetic, detections[order], cache_mb
        command = arguments(tmp_path / name, *common, '--launcher', 'pytorch')
        done = run_together(*[('test.py', *command)] * 3)
        for process in done:
            assert process.returncode == 0, process.stdout
    assert_equal_outputs(tmp_path / 'shared', tmp_path / 'plain')


COMBINED = """
_base_ = {config!r}

part = dict(
    type='CocoDataset',
    data_root={root!r},
    data_mode='topdown',
    test_mode=True,
    pipeline=[])
steps = _base_.test_dataloader.dataset.pipeline
test_dataloader = dict(dataset=dict(
    _delete_=True,
    type='CombinedDataset',
    metainfo=dict(from_file='configs/_base_/datasets/coco.py'),
    test_mode=True,
    datasets=[
        dict(part, ann_file='annotations/person_keypoints_val.json', data_prefix=dict(img='val/')),
        dict(part, ann_file='annotations/person_keypoints_train.json',
             data_prefix=dict(img='train/'), indices=[30, 2, 31, 3, 32, 4]),
        dict(part, ann_file='annotations/person_keypoints_val.json', data_prefix=dict(img='val/'),
             indices=5)],
    pipeline=steps))
test_evaluator = dict(_delete_=True, type='PCKAccuracy', thr=0.5)
"""


def test_combined_datasets(reads, tiny_config, weights, synthetic, tmp_path):
    """Images that are in two datasets are decoded once."""
    config = tmp_path / 'combined.py'
    config.write_text(COMBINED.format(config=str(tiny_config), root=str(synthetic)))
    results, read = [], []
    for cache_mb in (0, 64):
        reads.clear()
        folder = tmp_path / str(cache_mb)
        dump, options = folder / 'dump.pkl', ('--cfg-options', f'eval_cache_mb={cache_mb}')
        work = '--work-dir', folder / 'work', '--out', folder / 'metrics.json'
        main(list(map(str, (config, weights, '--dump', dump, *work, *options))))
        results.append((pickle.loads(dump.read_bytes()), (folder / 'metrics.json').read_bytes()))
        read.append(reads.total())
    np.testing.assert_equal(*results)
    paths = [sample['img_path'] for sample in results[0][0]]
    assert read[0] - read[1] == len(paths) - len(set(paths)) > 10


def test_validation_in_training(tiny_config, synthetic, tmp_path):
    """Two validations have equal metrics, and do not change the training."""
    runs = []
    for cache_mb in (0, 64):
        work = tmp_path / str(cache_mb)
        options = f'eval_cache_mb={cache_mb}', 'randomness.seed=3', 'train_cfg.val_interval=3'
        command = tiny_config, '--data-root', synthetic, '--work-dir', work
        done = run_tool('train.py', *command, '--cfg-options', *options)
        assert done.returncode == 0, done.stdout
        (log,) = work.glob('*/vis_data/scalars.json')
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        metrics = [
            {name: value for name, value in entry.items() if 'time' not in name}
            for entry in entries
            if 'coco/AP' in entry
        ]
        runs.append((metrics, read_checkpoint(work / 'iter_6.pth')['state_dict']))
    assert len(runs[0][0]) == 2
    assert runs[0][0] == runs[1][0]
    for weight, other in zip(runs[0][1].values(), runs[1][1].values(), strict=True):
        assert weight.equal(other)
