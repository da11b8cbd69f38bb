"""Tests of docs/your_own_data.md, whose commands and config run on seven keypoints.

Only the model that the config inherits is replaced by a smaller one.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import METRICS
from mmpose.utils import register_all_modules

from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.cli import train as train_api
from pose_backbones.structures.coco_keypoints import read_keypoint_file
from pose_backbones.visualization import draw
from tests.helpers.tools import ROOT, run_tool

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PAGE = (ROOT / 'docs/your_own_data.md').read_text()
CONFIG = 'projects/dancers/td-hm_moganet-s_dancers-256x192.py'
BASE = "_base_ = '../../configs/moganet/(.*)'"
#: custom keypoint → keypoint of the synthetic people
POINTS = {
    'crown': 'nose',
    'left_hand': 'left_wrist',
    'right_hand': 'right_wrist',
    'left_knee': 'left_knee',
    'right_knee': 'right_knee',
    'left_foot': 'left_ankle',
    'right_foot': 'right_ankle',
}
LIMBS = [[1, 2], [1, 3], [4, 6], [5, 7], [4, 5]]
CATEGORY = 3
SMALL = """
_base_ = '{root}/configs/moganet/{name}'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=(8, 16, 16, 32),
                  depths=(1, 1, 1, 1), ffn_ratios=(2, 2, 2, 2)),
        init_cfg=None),
    head=dict(in_channels=32, deconv_out_channels=(16, 16, 16)))
train_cfg = dict(max_epochs=1, val_interval=1)
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False,
    dataset=dict(indices=12))
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
"""


def blocks(language: str) -> list[str]:
    return re.findall(f'```{language}\n(.*?)```', PAGE, re.DOTALL)


def relabel(source: Path, target: Path):
    """Dataset of the synthetic people with other keypoints and another category."""
    content = json.loads(source.read_text())
    names = content['categories'][0]['keypoints']
    order = [names.index(name) for name in POINTS.values()]
    for entry in content['annotations']:
        points = np.reshape(entry['keypoints'], (-1, 3))[order]
        entry.update(keypoints=points.ravel().tolist(), category_id=CATEGORY)
        del entry['num_keypoints']  # many annotation tools do not write it
    content['categories'] = [
        dict(id=CATEGORY, name='dancer', keypoints=list(POINTS), skeleton=LIMBS)
    ]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(content))


def run_commands(commands: str) -> list[str]:
    """Run the commands in a shell in the working directory.

    The command `pose-backbones` is that of this repository. The command `python` is replaced by a
    function that passes its arguments to this process:
    the first tool is run by a new interpreter, and the others in processes of the fork server.

    Returns:
        The output of each tool.
    """
    (requests, ask), (answer, reply) = os.pipe(), os.pipe()
    python = f"""
        set -euo pipefail
        python() {{
            printf '%s\\n' "$@" '' >&{ask}
            read -r status <&{answer}
            return "$status"
        }}
        pose-backbones() {{
            PYTHONPATH={ROOT} {sys.executable} -m pose_backbones.cli "$@"
        }}
    """
    shell = subprocess.Popen(['bash', '-c', python + commands], pass_fds=(ask, answer))
    os.close(ask)
    os.close(answer)
    arguments, outputs = [], []
    with open(requests) as lines, open(reply, 'w') as replies:
        for line in lines:
            if line != '\n':
                arguments.append(line.removesuffix('\n'))
                continue
            script, *arguments = arguments
            done = run_tool(Path(script).absolute(), *arguments, real=not outputs)
            assert done.returncode == 0, done.stdout
            outputs.append(done.stdout)
            arguments = []
            print(done.returncode, file=replies, flush=True)
    assert shell.wait(60) == 0
    return outputs


@pytest.fixture(scope='module')
def finished(synthetic, tmp_path_factory):
    """Directory in which the commands of the page were run, and their output."""
    folder = tmp_path_factory.mktemp('tutorial')
    (folder / 'tools').symlink_to(ROOT / 'tools')
    data = folder / 'data/dancers'
    (data / 'images').mkdir(parents=True)
    for split in ('train', 'val'):
        relabel(
            synthetic / f'annotations/person_keypoints_{split}.json',
            data / f'annotations/{split}.json',
        )
        for file in (synthetic / split).iterdir():
            (data / 'images' / file.name).symlink_to(file)
    (config,) = blocks('python')
    base = re.search(BASE, config)[1]
    for path, text in (
        (f'configs/moganet/{base}', SMALL.format(root=ROOT, name=base)),
        (CONFIG, config),
    ):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(text)
    assert CONFIG in PAGE
    commands = '\n'.join(blocks('bash'))
    assert commands.count('python tools/') == 5
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        outputs = run_commands(commands)
    assert len(outputs) == 5
    return folder, ''.join(outputs)


def test_metainfo_file(finished):
    folder, printed = finished
    info = parse_pose_metainfo(dict(from_file=str(folder / 'projects/dancers/metainfo.py')))
    assert info['dataset_name'] == 'dancers'
    assert info['keypoint_id2name'] == dict(enumerate(POINTS))
    assert info['flip_indices'] == [0, 2, 1, 4, 3, 6, 5]
    assert info['skeleton_links'] == [(a - 1, b - 1) for a, b in LIMBS]
    assert info['sigmas'] == pytest.approx([0.05, 0.05, 0.05, 0.087, 0.087, 0.05, 0.05])
    assert info['lower_body_ids'] == [3, 4]
    left, right = (tuple(info['keypoint_colors'][k]) for k in (1, 2))
    assert (left, right) == (draw.LEFT[::-1], draw.RIGHT[::-1])
    assert 'left_hand / right_hand' in printed
    assert "sigma 0.087 for left_knee (COCO's knee)" in printed


def test_model_and_metrics(finished):
    folder, printed = finished
    work = folder / 'work_dirs/dancers'
    weights = read_checkpoint(work / 'epoch_1.pth')
    assert weights['state_dict']['head.final_layer.weight'].shape[0] == 7
    assert list(work.glob('best_coco_AP_epoch_1.pth'))
    metrics = json.loads((work / 'metrics.json').read_text())
    shown = re.findall(r'coco/AP: ([\d.]+)', printed)
    assert float(shown[-1]) == pytest.approx(metrics['coco/AP'], abs=1e-4)
    results = json.loads((work / 'predictions.keypoints.json').read_text())
    truth = json.loads((folder / 'data/dancers/annotations/val.json').read_text())
    labelled = [
        entry
        for entry in truth['annotations']
        if any(entry['keypoints'][2::3]) and not entry['iscrowd']
    ]
    assert 8 < len(results) <= len(labelled)  # duplicates are removed
    assert all(len(result['keypoints']) == 21 for result in results)
    assert {result['category_id'] for result in results} == {CATEGORY}


@pytest.mark.parametrize(('similarity', 'expected'), [(1, 1.0), (0.72, 0.5), (0.49, 0.0)])
def test_metric_uses_the_sigmas(finished, monkeypatch, similarity, expected):
    """All keypoints are shifted so that each instance has the given OKS.

    AP is then the fraction of the ten thresholds of COCO, .5 to .95, below this OKS.
    """
    monkeypatch.chdir(finished[0])
    register_all_modules()
    init_default_scope('mmpose')
    config = Config.fromfile(CONFIG)
    metric = METRICS.build(config.test_evaluator)
    info = parse_pose_metainfo(config.metainfo)
    metric.dataset_meta = info
    people = read_keypoint_file(config.test_evaluator.ann_file).objects
    for person in people:
        if person['iscrowd'] or not any(person['keypoints'][2::3]):
            continue
        points = np.reshape(person['keypoints'], (1, -1, 3))[..., :2]
        error = info['sigmas'] * np.sqrt(-8 * np.log(similarity) * person['area'])
        points[0, :, 0] += error
        metric.process(
            [],
            [
                dict(
                    id=person['id'],
                    img_id=person['image_id'],
                    category_id=person['category_id'],
                    gt_instances={},
                    pred_instances=dict(keypoints=points, keypoint_scores=np.ones((1, 7))),
                )
            ],
        )
    assert metric.evaluate(len(people))['coco/AP'] == pytest.approx(expected)


def test_drawn_images_show_the_custom_skeleton(finished):
    folder, _ = finished
    work = folder / 'work_dirs/dancers'
    assert cv2.imread(str(work / 'training.png')).size
    assert cv2.imread(str(work / 'pictures/overview.jpg')).size
    truth = read_keypoint_file(str(folder / 'data/dancers/annotations/val.json'))
    hits = []
    for person in truth.objects:
        points = np.reshape(person['keypoints'], (-1, 3))
        name = Path(truth.images[person['image_id']]['file_name']).name
        image = cv2.imread(str(work / 'pictures' / name))
        if not points[[0, 1], 2].all():
            continue
        x, y = points[[0, 1], :2].mean(0)  # half way from crown to hand
        colour = image[round(y) + 22, round(x)].astype(int)
        hits.append(abs(colour - draw.LEFT).max() < 60)
    assert len(hits) > 3
    assert np.mean(hits) > 0.5  # other people may occlude the limb


def test_format_example_is_valid(tmp_path):
    (example,) = blocks('json')
    (tmp_path / 'example.json').write_text(example)
    annotations = read_keypoint_file(str(tmp_path / 'example.json'))
    assert annotations.names == ('crown', 'left_hand', 'right_hand')
    assert len(annotations.objects) == 1


def test_options_for_small_data_sets():
    text = ' '.join(PAGE.split())
    options = re.search('`--cfg-options ([^`]+)`', text)[1].split()
    options += re.findall('(optim_wrapper.optimizer.lr=[^`]+)`', text)
    options += re.findall('(train_dataloader.batch_size=[^`]+)`', text)
    assert len(options) == 4
    base = str(ROOT / 'configs/moganet' / re.search(BASE, PAGE)[1])
    config = Config.fromfile(base)
    args = train_api.parse_args([base, '--auto-scale-lr', '--cfg-options', *options])
    train_api.merge_train_options(config, args)
    assert config.train_cfg.max_epochs == 60
    assert config.param_scheduler[1].milestones == [45, 55]
    assert config.optim_wrapper.optimizer.lr == 1e-4
    assert config.train_dataloader.batch_size == 16
    assert config.auto_scale_lr.enable
