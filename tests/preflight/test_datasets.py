"""Checks of the datasets of a config."""

import json
import re
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config

from pose_backbones.configs import find_datasets
from pose_backbones.errors import ConfigError, DatasetError
from pose_backbones.preflight.datasets import (
    check_datasets,
    check_keypoints,
    check_names,
    check_swaps,
    reads_coco,
)
from pose_backbones.structures.metainfo import read_metainfo
from tests.helpers import damaged_coco


@pytest.fixture
def folder(tmp_path):
    """A dataset: annotations `good.json` and `bad.json`, and the folder of the images."""
    (tmp_path / 'images').mkdir()
    content = damaged_coco.annotations()
    (tmp_path / 'good.json').write_text(json.dumps(content))
    content['annotations'][1]['image_id'] = 99
    (tmp_path / 'bad.json').write_text(json.dumps(content))
    return tmp_path


def dataset(folder, name: str, kind: str = 'CocoDataset', **more) -> dict:
    return dict(
        type=kind, data_root=str(folder), ann_file=name, data_prefix=dict(img='images'), **more
    )


def wrapped(*parts) -> dict:
    """Put datasets into each of MMEngine's and MMPose's wrappers."""
    first, *others = parts
    repeated = dict(type='RepeatDataset', times=2, dataset=first)
    combined = dict(type='CombinedDataset', metainfo={}, datasets=[repeated, *others])
    return dict(type='ConcatDataset', datasets=[combined])


def config(dataset, **more) -> Config:
    return Config(dict(default_scope='mmpose', train_dataloader=dict(dataset=dataset), **more))


def test_data_sets_in_wrappers_are_found(folder):
    parts = [dataset(folder, 'good.json'), dataset(folder, 'bad.json')]
    found = dict(find_datasets(config(wrapped(*parts)), 'train'))
    prefix = 'train_dataloader.dataset.datasets[0].datasets'
    leaves = {place: part for place, part in found.items() if 'ann_file' in part}
    assert leaves == {f'{prefix}[0].dataset': parts[0], f'{prefix}[1]': parts[1]}
    wrappers = [part['type'] for place, part in found.items() if place not in leaves]
    assert wrappers == ['ConcatDataset', 'CombinedDataset', 'RepeatDataset']
    assert list(find_datasets(config(None), 'train')) == []
    assert list(find_datasets(config(wrapped(*parts)), 'test')) == []


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('none.json', 'train annotations not found: .*none.json'),
        ('bad.json', "bad.json: annotation 102 has the image_id 99: .* of an entry of 'images'"),
    ],
)
def test_data_sets_in_wrappers_are_checked(folder, monkeypatch, name, message):
    monkeypatch.setattr('pose_backbones.structures.coco_checker.check_image_files', lambda *_: [])
    check_datasets(config(wrapped(dataset(folder, 'good.json'))), ['train'])
    with pytest.raises(DatasetError, match=message):
        check_datasets(
            config(wrapped(dataset(folder, 'good.json'), dataset(folder, name))), ['train']
        )


def test_images_are_looked_for(folder):
    with pytest.raises(DatasetError, match=r"image 1 \('1.jpg'\) has no file \(6 of 6 are like"):
        check_datasets(config(dataset(folder, 'good.json')), ['train'])


@pytest.mark.parametrize(
    ('kind', 'expected'),
    [
        ('CocoDataset', True),
        ('CrowdPoseDataset', True),
        ('AP10KDataset', True),
        ('CocoWholeBodyDataset', True),
        ('WFLWDataset', False),
        ('Human36mDataset', False),
        ('pose_backbones.MpiiDataset', False),
    ],
)
def test_classes_that_read_coco(folder, kind, expected):
    import mmpose.datasets  # noqa: F401

    import pose_backbones.datasets.mpii  # noqa: F401

    assert reads_coco(dataset(folder, 'good.json', kind)) == expected


def test_files_of_other_formats_are_not_read_as_json(folder):
    np.savez(folder / 'h36m.npz', a=np.zeros(3))
    loader = dict(dataset=dataset(folder, 'h36m.npz', 'Human36mDataset'))
    cfg = Config(
        dict(
            default_scope='mmpose',
            test_dataloader=loader,
            test_evaluator=[dict(type='MPJPE', mode='mpjpe')],
        )
    )
    check_datasets(cfg, ['test'])


def test_posetrack_needs_no_areas(folder, monkeypatch):
    monkeypatch.setattr('pose_backbones.structures.coco_checker.check_image_files', lambda *_: [])
    content = damaged_coco.annotations()
    for person in content['annotations']:
        del person['area']
    path = folder / 'posetrack18_val.json'
    path.write_text(json.dumps(content))

    def cfg(kind: str, metric: str) -> Config:
        return Config(
            dict(
                default_scope='mmpose',
                test_dataloader=dict(dataset=dataset(folder, path.name, kind)),
                test_evaluator=dict(type=metric, ann_file=str(path)),
            )
        )

    check_datasets(cfg('PoseTrack18Dataset', 'PoseTrack18Metric'), ['test'])
    with pytest.raises(DatasetError, match=r'no area \(6 of 6 .* or set use_area=False'):
        check_datasets(cfg('CocoDataset', 'CocoMetric'), ['test'])


def test_entries_are_checked_by_the_first_process(folder, monkeypatch):
    cfg = config(dataset(folder, 'bad.json'))
    monkeypatch.setenv('RANK', '1')
    check_datasets(cfg, ['train'])
    monkeypatch.setenv('RANK', '0')
    with pytest.raises(DatasetError, match='has the image_id 99'):
        check_datasets(cfg, ['train'])


def test_implausible_entries_are_logged(folder, monkeypatch, mmengine_log):
    monkeypatch.setattr('pose_backbones.structures.coco_checker.check_image_files', lambda *_: [])
    content = damaged_coco.annotations()
    content['annotations'][1]['bbox'] = [-900, -900, 5, 5]
    (folder / 'outside.json').write_text(json.dumps(content))
    check_datasets(config(dataset(folder, 'outside.json')), ['train'])
    assert any(
        record.levelname == 'WARNING' and 'of which less than half is in the image' in message
        for record, message in zip(mmengine_log.records, mmengine_log.messages)
    )


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('coco', None),
        (
            'deepfashion2',
            'train data: in the metainfo, a flip exchanges the keypoint vest_kpt9 with vest_kpt13, '
            'but vest_kpt13 with vest_kpt13: expected pairs .*1 of 294',
        ),
    ],
)
def test_keypoints_that_are_not_exchanged_in_pairs(name, message, mmengine_log):
    check_swaps(read_metainfo(f'configs/_base_/datasets/{name}.py'), 'train data')
    messages = [record.getMessage() for record in mmengine_log.records]
    assert len(messages) == (message is not None)
    if message is not None:
        assert re.match(message, messages[0])


def small_dataset(num_keypoints: int, sigmas: Sequence[float] = (0.05,)) -> SimpleNamespace:
    """Return a dataset without people."""

    class Dataset(SimpleNamespace):
        def __len__(self):
            return 0

    names = {index: str(index) for index in range(num_keypoints)}
    return Dataset(
        metainfo=dict(num_keypoints=num_keypoints, sigmas=np.array(sigmas), keypoint_id2name=names)
    )


def test_sigmas_of_a_dataset_are_checked():
    cfg = config(dict(type='CocoDataset', ann_file='a.json'), model={})
    with pytest.raises(
        DatasetError,
        match=r"the metainfo of the train data \(a.json\): the sigma of the keypoint '1' is -1 ",
    ):
        check_keypoints(cfg, small_dataset(2, (0.05, -1)), 'train')


def test_coco_metric_without_sigmas_raises():
    cfg = Config(
        dict(
            model={},
            val_dataloader=dict(dataset=dict(type='CocoDataset', ann_file='a.json')),
            val_evaluator=[dict(type='NME'), dict(type='mmpose.CocoMetric')],
        )
    )
    with pytest.raises(
        DatasetError,
        match=r'the metainfo of the val data \(a.json\) has no sigmas, which CocoMetric needs '
        r'\(val_evaluator\): add them to the metainfo file',
    ):
        check_keypoints(cfg, small_dataset(2, ()), 'val')
    check_keypoints(cfg, small_dataset(2), 'val')
    cfg.val_evaluator.pop()
    check_keypoints(cfg, small_dataset(2, ()), 'val')


def test_models_that_return_some_of_their_keypoints():
    cfg = Config(
        dict(
            model=dict(
                head=dict(out_channels=19), test_cfg=dict(output_keypoint_indices=list(range(17)))
            ),
            train_dataloader=dict(dataset=dict(type='CocoDataset', ann_file='train.json')),
            test_dataloader=dict(dataset=dict(type='CocoDataset', ann_file='test.json')),
        )
    )
    check_keypoints(cfg, small_dataset(19), 'train')
    check_keypoints(cfg, small_dataset(17), 'test')
    for split, count, message in (
        ('train', 17, r'predicts 19 keypoints \(model.head.out_channels\), but train data'),
        ('test', 19, r'predicts 17 keypoints \(model.test_cfg.output_keypoint_indices\), but'),
    ):
        with pytest.raises(DatasetError, match=message):
            check_keypoints(cfg, small_dataset(count), split)
    cfg.model.test_cfg.output_keypoint_indices[3] = 19
    with pytest.raises(ConfigError, match=r'output_keypoint_indices contains 19: the model pred'):
        check_keypoints(cfg, small_dataset(17), 'test')


COCO = [
    'nose',
    *(
        f'{side}_{joint}'
        for joint in ('eye', 'ear', 'shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')
        for side in ('left', 'right')
    ),
]


def shipped_names(name: str) -> list[str]:
    metainfo = read_metainfo(f'configs/_base_/datasets/{name}.py')
    return [metainfo['keypoint_id2name'][k] for k in range(metainfo['num_keypoints'])]


def test_names_of_keypoints_are_those_of_the_dataset(mmengine_log):
    """COCO, CrowdPose and AP-10K, whose annotations have other spellings than MMPose."""
    crowdpose = [name for name in COCO[5:] if 'ear' not in name]
    ap10k = ['left eye', 'right eye', 'nose', 'neck', 'root of tail']
    for joints in (('shoulder', 'elbow', 'front_paw'), ('hip', 'knee', 'back_paw')):
        ap10k += [f'{side}_{joint}' for side in ('left', 'right') for joint in joints]
    for names, kind in (
        (COCO, 'coco'),
        ([name.upper().replace('_', ' ') for name in COCO], 'coco'),
        ([*crowdpose, 'head', 'neck'], 'crowdpose'),
        (ap10k, 'ap10k'),
        (['a', 'b'], 'coco'),
    ):
        check_names(names, shipped_names(kind), 'x.json', kind)
    assert not mmengine_log.messages


def test_other_names_of_keypoints(mmengine_log):
    with pytest.raises(
        DatasetError,
        match="^x.json: keypoint 0 of the category is 'right_ankle', but 'nose' in the metainfo "
        r'of CocoDataset \(16 of 17 keypoints differ\): expected the same order',
    ):
        check_names(COCO[::-1], COCO, 'x.json', 'CocoDataset')
    swapped = [COCO[0], COCO[2], COCO[1], *COCO[3:]]
    with pytest.raises(DatasetError, match=r"keypoint 1 .* 'right_eye', but 'left_eye'.*\(2 of 17"):
        check_names(swapped, COCO, 'x.json', 'CocoDataset')
    check_names([f'paw{k}' for k in range(17)], COCO, 'x.json', 'CocoDataset')
    check_names(COCO, shipped_names('ap10k'), 'x.json', 'AP10KDataset')
    first, second = mmengine_log.messages
    assert "keypoint 0 of the category is 'paw0', but 'nose' in the metainfo" in first
    assert '(17 of 17 keypoints differ): if they are other keypoints, use the dataset t' in first
    assert "keypoint 0 of the category is 'nose', but 'L_Eye' in the metainfo of AP10K" in second
