"""`tools/test.py --format-only` for test sets without labels, and runs with MPII's format."""

import json
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules
from scipy.io import loadmat

from pose_backbones.cli import test as test_api
from pose_backbones.cli import train as train_api
from pose_backbones.cli.options import set_data_root
from pose_backbones.configs import load_config
from pose_backbones.errors import ConfigError, DatasetError
from pose_backbones.synthetic import make_synthetic_mpii
from tests.helpers.tools import ROOT, run_together, run_tool

LIST = 'annotations/image_info_test-dev2017.json'
BOXES = 'person_detection_results/val_detections.json'
PAGE = (ROOT / 'docs/coco_test_dev.md').read_text()
TEST_DEV = """
_base_ = [
    '{config}',
    '{root}/configs/_base_/datasets/td_coco_test-dev.py',
]
test_dataloader = dict(dataset=_base_.test_dev_dataset)
test_evaluator = _base_.test_dev_evaluator
# The synthetic dataset is not in data/coco:
data_root = 'data/coco/'
test_dataloader.update(
    dataset=dict(
        ann_file='{list}',
        data_root=data_root,
        data_prefix=dict(img='val/'),
        bbox_file=data_root + '{boxes}'))
"""
TINY_MPII = """
_base_ = '{root}/configs/moganet/td-hm_moganet-s_8xb32-210e_mpii-256x256.py'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=(8, 16, 16, 32),
                  depths=(1, 1, 1, 1), ffn_ratios=(2, 2, 2, 2)),
        init_cfg=None),
    head=dict(in_channels=32, deconv_out_channels=(16, 16, 16)))
train_cfg = dict(max_epochs=1, val_interval=1)
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(indices=4))
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
"""


@pytest.fixture(autouse=True, scope='module')
def _mmpose_modules():
    register_all_modules()


@pytest.fixture(scope='module')
def weights(tiny_config, tmp_path_factory):
    torch.manual_seed(0)
    model = MODELS.build(load_config(str(tiny_config)).model)
    path = tmp_path_factory.mktemp('weights') / 'weights.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    return path


@pytest.fixture(scope='module')
def test_dev(synthetic, tiny_config, tmp_path_factory):
    """Use the synthetic validation images as a test set with an image list and detections.

    One image has 30 more detections. Return the directory of the data and the config.
    """
    folder = tmp_path_factory.mktemp('test_dev')
    data = folder / 'data'
    (data / 'annotations').mkdir(parents=True)
    (data / 'person_detection_results').mkdir()
    (data / 'val').symlink_to(synthetic / 'val')
    content = json.loads((synthetic / 'annotations/person_keypoints_val.json').read_text())
    del content['annotations']
    (data / LIST).write_text(json.dumps(content))
    boxes = json.loads((synthetic / BOXES).read_text())
    crowded = content['images'][0]
    rng = np.random.default_rng(0)
    boxes += [
        dict(
            image_id=crowded['id'],
            category_id=1,
            score=float(s),
            bbox=[float(x), float(y), 60.0, 120.0],
        )
        for s, x, y in zip(
            rng.uniform(0.2, 1, 30),
            rng.uniform(0, crowded['width'] - 60, 30),
            rng.uniform(0, 100, 30),
        )
    ]
    (data / BOXES).write_text(json.dumps(boxes))
    config = folder / 'tiny_test-dev.py'
    config.write_text(TEST_DEV.format(config=tiny_config, root=ROOT, list=LIST, boxes=BOXES))
    return data, config


def run(config, weights, data, work, *options):
    """Run `tools/test.py` in this process."""
    test_api.main(
        [
            str(config),
            str(weights),
            '--data-root',
            str(data),
            '--work-dir',
            str(work),
            *map(str, options),
        ]
    )


def read_archive(path) -> list[dict]:
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f'{path.stem}.json']
        return json.loads(archive.read(archive.namelist()[0]))


@pytest.fixture(scope='module')
def written(test_dev, weights, tmp_path_factory):
    work = tmp_path_factory.mktemp('written')
    run(test_dev[1], weights, test_dev[0], work, '--format-only', '--submission-name', 'us')
    assert not list(work.glob('*.json'))  # only the archive is left
    return read_archive(work / 'person_keypoints_test-dev2017_us_results.zip')


def test_archive_contains_the_results_that_the_server_evaluates(
    written, test_dev, tiny_config, weights, synthetic, tmp_path
):
    """The expected results are those that MMPose's metric writes for the same detections."""
    run(
        tiny_config,
        weights,
        synthetic,
        tmp_path,
        '--cfg-options',
        f'test_dataloader.dataset.bbox_file={test_dev[0] / BOXES}',
        f'test_evaluator.outfile_prefix={tmp_path / "mmpose"}',
    )
    all_results = json.loads((tmp_path / 'mmpose.keypoints.json').read_text())
    best = {}
    for entry in all_results:
        entry.pop('bbox', None)
        best.setdefault(entry['image_id'], []).append(entry)
    sizes = sorted(len(people) for people in best.values())
    assert sizes[-1] > 20 >= sizes[-2]
    expected = [
        entry
        for people in best.values()
        for entry in sorted(people, key=lambda p: p['score'], reverse=True)[:20]
    ]

    def key(entry):
        return entry['image_id'], entry['score'], entry['keypoints']

    assert len(written) < len(all_results)
    assert sorted(written, key=key) == sorted(expected, key=key)


def test_two_processes_write_equal_results(written, test_dev, weights, tmp_path):
    options = ('--data-root', test_dev[0], '--work-dir', tmp_path, '--format-only')
    command = ('test.py', test_dev[1], weights, *options, '--launcher', 'pytorch')
    process, other_entry = run_together(command, command)
    assert [process.returncode, other_entry.returncode] == [0, 0], (
        process.stdout + other_entry.stdout
    )
    # The default name is that of the config.
    archive = tmp_path / 'person_keypoints_test-dev2017_tiny_test-dev_results.zip'
    assert re.search(
        rf'{len(written)} results written to {archive} '
        r'\(\d+ left out: at most 20 per image are accepted\)',
        process.stdout,
    )
    distributed_results = read_archive(archive)
    assert len(distributed_results) == len(written)
    close = []
    for entry, other_entry in zip(written, distributed_results):
        assert entry['image_id'] == other_entry['image_id']
        assert other_entry['score'] == pytest.approx(entry['score'], abs=1e-5)
        points = np.reshape(entry['keypoints'], (17, 3))
        other_points = np.reshape(other_entry['keypoints'], (17, 3))
        np.testing.assert_allclose(other_points[:, 2], points[:, 2], atol=1e-5)
        close.append(abs(other_points - points).max(axis=1) < 0.1)
    # The heatmaps of an untrained model are flat, so either of two equal peaks may be decoded.
    assert np.mean(close) > 0.97


def test_second_rank_does_not_remove_the_results(test_dev, weights, tmp_path, monkeypatch):
    """It may finish before rank 0 has read them."""
    build = test_api.build_runner

    def build_second_rank(cfg):
        runner = build(cfg)
        runner._rank = 1
        return runner

    monkeypatch.setattr(test_api, 'build_runner', build_second_rank)
    run(test_dev[1], weights, test_dev[0], tmp_path, '--format-only')
    name = 'person_keypoints_test-dev2017_tiny_test-dev_results'
    assert json.loads((tmp_path / f'{name}.keypoints.json').read_text())
    assert not (tmp_path / f'{name}.zip').exists()


def check_raises(error, message, *arguments):
    with pytest.raises(error, match=message):
        run(*arguments)


def test_invalid_options_raise_before_the_run(
    test_dev, tiny_config, weights, synthetic, tmp_path, monkeypatch
):
    """The checks run before the model is built."""
    data, config = test_dev
    monkeypatch.setattr(test_api, 'build_runner', None)

    def check_run_raises(error, message, *options, config=config, data=data):
        check_raises(error, message, config, weights, data, tmp_path, *options)

    only = '--format-only'
    check_run_raises(
        ConfigError, '--submission-name requires --format-only', '--submission-name', 'us'
    )
    check_run_raises(
        ConfigError, "--submission-name 'a b': expected letters", only, '--submission-name', 'a b'
    )
    check_run_raises(
        ConfigError, '--out and --format-only exclude', only, '--out', tmp_path / 'metrics.json'
    )
    check_run_raises(ConfigError, '--eval and --format-only exclude', only, '--eval', 'mAP')
    check_run_raises(
        ConfigError,
        'COCO .* and MPII .* test_evaluator is AUC',
        only,
        '--cfg-options',
        'test_evaluator.type=AUC',
    )
    # Images without labels cannot be evaluated, and have no bounding boxes of people.
    check_run_raises(DatasetError, 'is a list of images without annotations')
    check_run_raises(
        DatasetError,
        'is a list of images without people: give detections',
        only,
        '--cfg-options',
        'test_dataloader.dataset.bbox_file=',
    )


def test_images_that_are_not_in_the_list_raise(
    test_dev, tiny_config, weights, synthetic, tmp_path, monkeypatch
):
    data, config = test_dev
    monkeypatch.setattr(test_api, 'build_runner', None)
    short_list = tmp_path / 'image_info_test-dev2017.json'
    content = json.loads((data / LIST).read_text())
    missing_id = content['images'].pop(0)['id']
    short_list.write_text(json.dumps(content))
    # a detection of an image that is missing in the list of the dataset
    check_raises(
        DatasetError,
        'detection .* has the image_id .* expected the id of an image of',
        config,
        weights,
        data,
        tmp_path,
        '--format-only',
        '--cfg-options',
        f'test_dataloader.dataset.ann_file={short_list}',
    )
    # a detection of an image that is missing only in the list of the metric
    check_raises(
        DatasetError,
        f'has the image_id {missing_id}( .*)?: expected the id of an image of {short_list}',
        config,
        weights,
        data,
        tmp_path,
        '--format-only',
        '--cfg-options',
        f'test_evaluator.ann_file={short_list}',
    )
    # annotated people instead of detections
    check_raises(
        DatasetError,
        f'image {missing_id} .* has the id {missing_id}: expected an image of the image list',
        tiny_config,
        weights,
        synthetic,
        tmp_path,
        '--format-only',
        '--cfg-options',
        f'test_evaluator.ann_file={short_list}',
    )


@pytest.mark.parametrize(
    'leaf',
    [
        'moganet/td-hm_moganet-b_8xb32-210e_coco-384x288',
        'uniformer/td-hm_uniformer-s_8xb128-210e_coco-256x192',
        'convnext/td-hm_convnext-t_8xb32-210e_coco-256x192',
        'swin/td-hm_swin-t-p4-w7_8xb32-210e_coco-256x192',
        'timm/td-hm_timm-hrnet-w32_8xb32-210e_coco-256x192',
    ],
)
def test_config_of_the_documentation(leaf, tmp_path):
    """The config changes only the test data, for a config of each family."""
    (text,) = re.findall('```python\n(.*?)```', PAGE, re.DOTALL)
    shown = 'td-hm_moganet-s_8xb32-210e_coco-256x192'
    assert shown in text
    path = tmp_path / 'test-dev.py'
    path.write_text(
        text.replace(f'./{shown}', f'{ROOT}/configs/{leaf}').replace(
            '../_base_', f'{ROOT}/configs/_base_'
        )
    )
    config = load_config(str(path))
    base = load_config(f'{ROOT}/configs/{leaf}.py')
    set_data_root(config, '/data')
    set_data_root(base, '/data')
    dataset = config.test_dataloader.dataset
    assert dataset.ann_file == LIST
    assert dataset.data_prefix.img == 'test2017/'
    assert dataset.bbox_file == (
        '/data/person_detection_results/COCO_test-dev2017_detections_AP_H_609_person.json'
    )
    assert config.test_evaluator.ann_file == f'/data/{LIST}'
    base.test_dataloader.dataset.update(
        ann_file=dataset.ann_file, data_prefix=dataset.data_prefix, bbox_file=dataset.bbox_file
    )
    base.test_evaluator.ann_file = config.test_evaluator.ann_file
    for name in base:
        assert config[name] == base[name], name


@pytest.fixture(scope='module')
def mpii(tmp_path_factory):
    folder = tmp_path_factory.mktemp('mpii')
    make_synthetic_mpii(folder / 'data', 4, 4, seed=1)
    config = folder / 'tiny_mpii.py'
    config.write_text(TINY_MPII.format(root=ROOT))
    return folder / 'data', config


@pytest.fixture(scope='module')
def trained(mpii, tmp_path_factory):
    """Train two iterations and validate; return the work dir and the output."""
    work = tmp_path_factory.mktemp('trained')
    process = run_tool('train.py', mpii[1], '--data-root', mpii[0], '--work-dir', work)
    assert process.returncode == 0, process.stdout
    return work, process.stdout


def table_of(people, predicted) -> list[float]:
    """Compute PCKh and PCKh@0.1 of people in HRNet's JSON format, in a loop."""
    hits_by_threshold = {0.5: [[] for _ in range(16)], 0.1: [[] for _ in range(16)]}
    for person, points in zip(people, predicted):
        x1, y1, x2, y2 = person['headbox']
        head = 0.6 * np.hypot(x2 - x1, y2 - y1)
        for joint in range(16):
            if person['joints_vis'][joint]:
                gap = np.linalg.norm(points[joint] - person['joints'][joint])
                for thr, hits in hits_by_threshold.items():
                    hits[joint].append(gap <= thr * head)
    rows = [[9], [12, 13], [11, 14], [10, 15], [2, 3], [1, 4], [0, 5]]
    table = [100 * np.mean([np.mean(hits_by_threshold[0.5][j]) for j in row]) for row in rows]
    for hits in hits_by_threshold.values():
        table.append(100 * np.mean([hit for j in range(16) if j not in (6, 7) for hit in hits[j]]))
    return table


def test_mpii_training_and_validation(mpii, trained):
    work, output = trained
    assert len(re.findall(r'Epoch\(train\) *\[1\]\[[12]/2\]', output)) == 2
    names, figures = re.search(r'(\| +Head .*)\n(\|.*\|)', output).groups()
    names = [name.strip() for name in names.strip('|').split('|')]
    assert names == [
        'Head',
        'Shoulder',
        'Elbow',
        'Wrist',
        'Hip',
        'Knee',
        'Ankle',
        'Mean',
        'Mean@0.1',
    ]
    mean = float(figures.strip('|').split('|')[7])
    returned = re.search(r'PCKh/Mean: ([\d.]+)', output).group(1)
    assert mean == pytest.approx(float(returned), abs=0.006)
    assert list(work.glob('best_PCKh_Mean_epoch_1.pth'))


def test_mpii_evaluation_and_predictions(mpii, trained, tmp_path):
    """The metrics match the dumped predictions, and so does pred.mat, with pixels from 1."""
    data, config = mpii
    weights = trained[0] / 'epoch_1.pth'
    run(
        config,
        weights,
        data,
        tmp_path,
        '--eval',
        'PCKh',
        '--out',
        tmp_path / 'metrics.json',
        '--dump',
        tmp_path / 'dump.pkl',
    )
    dumped = pickle.loads((tmp_path / 'dump.pkl').read_bytes())
    predicted = [np.asarray(sample['pred_instances']['keypoints'])[0] + 1 for sample in dumped]
    people = json.loads((data / 'annotations/mpii_val.json').read_text())
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert list(metrics.values()) == pytest.approx(table_of(people, predicted), abs=1e-4)
    # with the head boxes of the JSON file
    run(
        config,
        weights,
        data,
        tmp_path,
        '--out',
        tmp_path / 'again.json',
        '--cfg-options',
        'test_dataloader.dataset.headbox_file=None',
    )
    metrics_of_json = json.loads((tmp_path / 'again.json').read_text())
    assert metrics_of_json == pytest.approx(metrics)

    run(
        config,
        weights,
        data,
        tmp_path,
        '--format-only',
        '--cfg-options',
        'test_dataloader.dataset.ann_file=annotations/mpii_test.json',
    )
    preds = loadmat(tmp_path / 'pred.mat')['preds']
    np.testing.assert_allclose(preds, predicted, atol=1e-3)


def test_mpii_without_head_boxes_raises(mpii, tmp_path, monkeypatch):
    """Testing and training raise before the run."""
    data, config = mpii
    monkeypatch.setattr(test_api, 'build_runner', None)
    monkeypatch.setattr(train_api, 'build_runner', None)
    people = json.loads((data / 'annotations/mpii_val.json').read_text())
    del people[1]['headbox']
    path = tmp_path / 'mpii_val.json'
    path.write_text(json.dumps(people))
    message = (
        rf'{path} has no head boxes \(1 of {len(people)} people, such '
        r'as number 1\), which PCKh needs: give '
        '{}_dataloader.dataset.headbox_file'
    )
    options = [
        '{0}_dataloader.dataset.ann_file=' + str(path),
        '{0}_dataloader.dataset.headbox_file=None',
    ]
    check_raises(
        DatasetError,
        message.format('test'),
        config,
        'none.pth',
        data,
        tmp_path,
        '--cfg-options',
        *[o.format('test') for o in options],
    )
    with pytest.raises(DatasetError, match=message.format('val')):
        train_api.main(
            [
                str(config),
                '--data-root',
                str(data),
                '--work-dir',
                str(tmp_path / 'work'),
                '--cfg-options',
                *[o.format('val') for o in options],
            ]
        )


def test_mpii_without_labels_raises(mpii, tmp_path, monkeypatch):
    """The test split has no labels."""
    data, config = mpii
    monkeypatch.setattr(test_api, 'build_runner', None)
    check_raises(
        DatasetError,
        'mpii_test.json has no labelled joints, like the test split',
        config,
        'none.pth',
        data,
        tmp_path,
        '--cfg-options',
        'test_dataloader.dataset.ann_file=annotations/mpii_test.json',
    )


def test_missing_mpii_raises_with_instructions(mpii, tmp_path):
    check_raises(
        DatasetError,
        r'mpii_val.json. Give .* --format mpii',
        mpii[1],
        'none.pth',
        tmp_path,
        tmp_path,
    )


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        (
            'test_evaluator.type=MpiiPCKAccuracy',
            'MpiiPCKAccuracy does not fit pose_backbones.MpiiDataset: pixels count from 0',
        ),
        (
            'test_dataloader.dataset.type=MpiiDataset',
            'MpiiPCKh does not fit MpiiDataset: pixels count from 0',
        ),
    ],
)
def test_dataset_and_metric_with_different_pixel_origins_raise(
    mpii, tmp_path, monkeypatch, option, message
):
    monkeypatch.setattr(test_api, 'build_runner', None)
    check_raises(
        ConfigError, message, mpii[1], 'none.pth', mpii[0], tmp_path, '--cfg-options', option
    )


def test_submission_name_raises_for_mpii(mpii, tmp_path):
    check_raises(
        ConfigError,
        'the file of MPII is called pred.mat',
        mpii[1],
        'none.pth',
        mpii[0],
        tmp_path,
        '--format-only',
        '--submission-name',
        'us',
    )
