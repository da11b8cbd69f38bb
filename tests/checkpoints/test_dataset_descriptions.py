"""Train, test, resume twice and infer with every dataset description of MMPose.

The images and annotations are random. The model has few tensors, since most of the time would be
spent on reading its checkpoints. The names, flip pairs, skeleton, weights and sigmas of the
keypoints are MMPose's; a training checkpoint contains them as arrays, which may be empty.
"""

import json
from pathlib import Path

import cv2
import mmpose
import numpy as np
import pytest
from mmengine.config import Config

from pose_backbones import PoseInferencer
from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.cli import test as test_api
from pose_backbones.cli import train as train_api

FOLDER = Path(mmpose.__file__).parent / '.mim/configs/_base_/datasets'
DESCRIPTIONS = sorted(file.stem for file in FOLDER.glob('*.py'))
#: user-defined keypoints without a skeleton
CUSTOM = dict(
    dataset_name='custom',
    paper_info={},
    skeleton_info={},
    keypoint_info={
        number: dict(name=f'point {number}', id=number, color=[0, 0, 255], type='', swap='')
        for number in range(3)
    },
    joint_weights=[1.0, 1.0, 1.0],
    sigmas=[],
)

CONFIG = """
_base_ = '{base}'
codec = dict(type='MSRAHeatmap', input_size=(48, 64), heatmap_size=(12, 16),
             sigma=2)
metainfo = {metainfo!r}
model = dict(
    backbone=dict(
        _delete_=True, type='pose_backbones.ConvNeXt', out_indices=(0, ),
        arch=dict(embed_dims=(8, 8, 8, 8), depths=(1, 1, 1, 1), use_grn=False)),
    head=dict(in_channels=8, out_channels={count}, decoder=codec))
begin = [dict(type='LoadImage'), dict(type='GetBBoxCenterScale'),
         dict(type='TopdownAffine', input_size=codec['input_size'])]
end = [dict(type='PackPoseInputs')]
dataset = dict(
    type='CocoDataset', data_root='{data}', data_mode='topdown',
    ann_file='all.json', data_prefix=dict(img='images/'), metainfo=metainfo)
loader = dict(
    _delete_=True, batch_size=2, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False))
train_dataloader = dict(**loader, dataset=dict(
    **dataset, pipeline=[
        *begin, dict(type='GenerateTarget', encoder=codec), *end]))
val_dataloader = dict(**loader, dataset=dict(
    **dataset, test_mode=True, pipeline=[*begin, *end]))
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='PCKAccuracy', thr=0.5)
test_evaluator = val_evaluator
train_cfg = dict(max_iters=1)
default_hooks = dict(checkpoint=dict(interval=1))
experiment_name = None
"""


def _keypoint_count(metainfo: dict) -> int:
    info = (
        metainfo.get('keypoint_info')
        or Config.fromfile(metainfo['from_file']).dataset_info.keypoint_info
    )
    return len(info)


@pytest.fixture(scope='module')
def base_config(tiny_config, tmp_path_factory):
    """The tiny config without base files, which would be read again for each tool."""
    path = tmp_path_factory.mktemp('base') / 'base.py'
    Config.fromfile(str(tiny_config)).dump(path)
    return path


@pytest.fixture
def make_config(base_config, tmp_path):
    """Return a function that writes random data and a config for a dataset description."""

    def make(metainfo: dict) -> tuple[Path, Path]:
        count = _keypoint_count(metainfo)
        data = tmp_path / 'data'
        (data / 'images').mkdir(parents=True)
        rng = np.random.default_rng(0)
        images, annotations = [], []
        for number in (1, 2):
            cv2.imwrite(
                str(data / f'images/{number}.png'), rng.integers(0, 255, (64, 48, 3), np.uint8)
            )
            images.append(dict(id=number, file_name=f'{number}.png', width=48, height=64))
            points = np.stack(
                (rng.uniform(4, 44, count), rng.uniform(4, 60, count), np.full(count, 2.0)), 1
            )
            annotations.append(
                dict(
                    id=number,
                    image_id=number,
                    category_id=1,
                    iscrowd=0,
                    bbox=[2.0, 2.0, 44.0, 60.0],
                    area=2640.0,
                    num_keypoints=count,
                    keypoints=points.ravel().tolist(),
                )
            )
        (data / 'all.json').write_text(
            json.dumps(
                dict(images=images, annotations=annotations, categories=[dict(id=1, name='person')])
            )
        )
        config = tmp_path / 'described.py'
        config.write_text(
            CONFIG.format(base=base_config, metainfo=metainfo, count=count, data=data)
        )
        return config, data

    return make


def _run(main, config: Path, *arguments) -> None:
    # Runs in one process that start within the same second would share MMEngine's message hub.
    _run.number += 1
    main(
        [
            *map(str, (config, *arguments)),
            '--cfg-options',
            f'experiment_name=described_{_run.number}',
            *_run.options,
        ]
    )


_run.number, _run.options = 0, ()


@pytest.mark.parametrize('name', [*DESCRIPTIONS, 'custom keypoints'])
def test_description_works_in_every_tool(make_config, tmp_path, name):
    metainfo = CUSTOM if name == 'custom keypoints' else dict(from_file=str(FOLDER / f'{name}.py'))
    config, data = make_config(metainfo)
    work = tmp_path / 'work'
    for step in (1, 2, 3):
        _run.options = (f'train_cfg.max_iters={step}',)
        resume = ['--resume'] if step > 1 else []
        _run(train_api.main, config, '--work-dir', work, '--no-validate', *resume)
        content = read_checkpoint(work / f'iter_{step}.pth')
        assert content['meta']['iter'] == step
        moments = content['optimizer']['state'][0]
        assert int(moments['step']) == step  # resumed, not restarted
    _run.options = ()
    _run(
        test_api.main,
        config,
        work / 'iter_3.pth',
        '--work-dir',
        tmp_path / 'test',
        '--out',
        tmp_path / 'metrics.json',
    )
    assert 0 <= json.loads((tmp_path / 'metrics.json').read_text())['PCK'] <= 1
    inferencer = PoseInferencer(str(config), str(work / 'iter_3.pth'))
    (result,) = list(inferencer(str(data / 'images/1.png')))
    count = _keypoint_count(metainfo)
    assert result.keypoints.shape == (1, count, 2)
    assert len(inferencer.skeleton.names) == count
    assert np.isfinite(result.keypoints).all()


def test_mmpose_has_55_descriptions():
    assert len(DESCRIPTIONS) == 55
