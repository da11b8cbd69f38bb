"""Tests of benchmarks/real_photographs.py, with generated images in place of photographs."""

import json
import shutil
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmpose.registry import DATASETS

from benchmarks import _photographs, real_photographs
from benchmarks._photographs import IMAGES, selected_file, write_annotations
from benchmarks.real_photographs import (
    ROWS,
    Row,
    _minutes,
    _names,
    main,
    make_config,
    parse_args,
    prepare,
    table,
)
from pose_backbones.errors import ConfigError, DatasetError, WorkDirError
from pose_backbones.structures.annotation_tools.lsp import JOINTS

_SPLITS = ('train', 'val')
_SHARED = ('PCK/PCK', 'coco/AP', 'coco/AP .5')


@pytest.fixture(autouse=True)
def _images(tmp_path: Path, synthetic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Select all images of the synthetic dataset, in another order."""
    numbers = {}
    for split in _SPLITS:
        content = json.loads(_annotations(synthetic, split).read_text())
        numbers[split] = [int(image['file_name'][:-4]) for image in content['images']][::-1]
    file = tmp_path / 'images.json'
    file.write_text(json.dumps(dict(lspet=numbers, coco=numbers)))
    monkeypatch.setattr(_photographs, 'IMAGES', file)


def _annotations(folder: Path, split: str) -> Path:
    return folder / f'annotations/person_keypoints_{split}.json'


@pytest.fixture
def data(tmp_path: Path, synthetic: Path) -> Path:
    """Synthetic people with the joints of LSPET."""
    folder = tmp_path / 'lspet'
    (folder / 'annotations').mkdir(parents=True)
    for split in _SPLITS:
        (folder / split).symlink_to(synthetic / split)
        content = json.loads(_annotations(synthetic, split).read_text())
        names = content['categories'][0]['keypoints']
        people = []
        for person in content['annotations']:
            points = np.reshape(person['keypoints'], (-1, 3))
            row = dict(zip(names, points))
            joints = np.array([row.get(name, np.zeros(3)) for name in JOINTS])
            count = int((joints[:, 2] > 0).sum())
            if count:
                values = joints.ravel().tolist()
                people.append(dict(person, keypoints=values, num_keypoints=count))
        category = dict(content['categories'][0], keypoints=list(JOINTS), skeleton=[])
        content.update(annotations=people, categories=[category])
        (folder / f'annotations/{split}.json').write_text(json.dumps(content))
    return folder


def test_synthetic_people_have_the_joints_of_lspet(
    tmp_path: Path, data: Path, synthetic: Path
) -> None:
    out = tmp_path / 'runs'
    out.mkdir()
    (out / 'synthetic-sports').symlink_to(synthetic)
    args = parse_args(['b', '--data', str(data), '--out', str(out)])
    prepare(ROWS['b'], args)
    dataset = make_config(ROWS['b'], args, is_synthetic=True).train_dataloader.dataset
    dataset.pipeline = []
    (people,) = dataset.datasets
    with DefaultScope.overwrite_default_scope('mmpose'):
        converted = DATASETS.build(dataset)
        original = DATASETS.build(dict(people, pipeline=[]))
    names = original.metainfo['keypoint_id2name'].values()
    assert len(converted) == len(original) > 20
    for index in range(len(converted)):
        points = converted[index]['keypoints'][0]
        flags = converted[index]['keypoints_visible'][0]
        person = original[index]
        expected = dict(zip(names, person['keypoints'][0], strict=True))
        visible = dict(zip(names, person['keypoints_visible'][0], strict=True))
        for number, name in enumerate(JOINTS[:12]):
            np.testing.assert_allclose(points[number], expected[name])
            assert flags[number, 0] == visible[name]
        shoulders = [expected[f'{side}_shoulder'] for side in ('left', 'right')]
        np.testing.assert_allclose(points[12], np.mean(shoulders, axis=0), rtol=1e-6)
        assert flags[13].tolist() == [0, 0]  # the top of the head has no label and no weight
    assert converted[0]['flip_indices'] == [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13]


def test_row_is_trained_tested_and_printed(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(real_photographs, '_SYNTHETIC', dict(train=6, val=1))
    monkeypatch.setattr(real_photographs, 'BATCH_SIZE', 4)
    out = tmp_path / 'runs'
    options = ['--data', str(data), '--out', str(out), '--synthetic-steps', '2', '--steps', '3']
    files = ['--json', str(tmp_path / 'all.json'), '--plot', str(tmp_path / 'all.png')]
    main(['moganet-b', *options, *files])
    (result,) = json.loads((tmp_path / 'all.json').read_text())
    steps, values = zip(*result['curve'], strict=True)
    assert steps == (1, 2, 3)
    assert values[-1] == pytest.approx(result['metrics']['PCK/PCK'])
    assert cv2.imread(str(tmp_path / 'all.png')).shape[2] == 3
    assert result['start'] == 'synthetic (sports)'
    assert (result['steps'], result['synthetic_steps'], result['seed']) == (3, 2, 0)
    metrics = result['metrics']
    assert set(result['before']) == set(metrics)
    assert result['before'] != metrics
    assert 0 <= metrics['PCK/PCK'] <= 100
    assert set(metrics) >= {f'PCK/{name}' for name in JOINTS} | {'coco/AP', 'PCK/mean'}
    log = next((out / 'moganet-b-128x96-2+3-seed0').glob('*/*.log')).read_text()
    assert 'synthetic-sports-moganet-xt-128x96-2-seed0/iter_2.pth' in log  # the initial weights
    lines = capsys.readouterr().out.splitlines()
    expected = f'| moganet-b | 128x96 | synthetic (sports) | 0 | 3 | {result["minutes"]} | '
    assert expected in lines[2]
    assert lines[-1].startswith('| head top | nan')
    main(['moganet-b', *options])  # is complete
    assert capsys.readouterr().out.splitlines() == lines
    # As if it had been stopped between the training and the test.
    folder = out / 'moganet-b-128x96-2+3-seed0'
    (folder / 'result.json').unlink()
    shutil.rmtree(folder / 'test')
    main(['moganet-b', *options])
    assert capsys.readouterr().out.splitlines() == lines
    # Other annotations would be mixed with those of the runs.
    file = data / 'annotations/val.json'
    content = json.loads(file.read_text())
    content['annotations'][0]['keypoints'][0] += 1
    file.write_text(json.dumps(content))
    with pytest.raises(
        ConfigError, match=r'lspet differs from what the other runs used, see .*val'
    ):
        main(['moganet-b', *options])


@pytest.fixture
def coco(tmp_path: Path, synthetic: Path) -> Path:
    """Synthetic people with the names of COCO's files."""
    folder = tmp_path / 'coco'
    (folder / 'annotations').mkdir(parents=True)
    for split in _SPLITS:
        (folder / f'{split}2017').symlink_to(synthetic / split)
        file = f'annotations/person_keypoints_{split}'
        (folder / f'{file}2017.json').symlink_to(synthetic / f'{file}.json')
    return folder


def test_lspet_has_twelve_keypoints_of_coco(tmp_path: Path, data: Path, coco: Path) -> None:
    out = tmp_path / 'runs'
    (tmp_path / 'imagenet.pth').write_bytes(b'')
    options = ['--coco', str(coco), '--out', str(out), '--imagenet', str(tmp_path / 'imagenet.pth')]
    args = parse_args(['coco-c', '--data', str(data), *options, '--frozen-stages', '2'])
    prepare(ROWS['coco-c'], args)
    cfg = make_config(ROWS['coco-c'], args, is_synthetic=False)
    assert cfg.model.head.out_channels == 17
    dataset = cfg.train_dataloader.dataset
    dataset.pipeline = []
    with DefaultScope.overwrite_default_scope('mmpose'):
        both = DATASETS.build(dataset)
        lspet, people = (DATASETS.build(dict(part, pipeline=[])) for part in dataset.datasets)
    assert len(both) == len(lspet) + 5 * len(people)
    names = list(both.metainfo['keypoint_id2name'].values())
    converted, original = both[3], lspet[3]
    points = dict(zip(JOINTS, original['keypoints'][0], strict=True))
    flags = dict(zip(JOINTS, original['keypoints_visible'][0], strict=True))
    for index, name in enumerate(names):
        expected = flags.get(name, 0)
        assert converted['keypoints_visible'][0, index].tolist() == [expected, name in flags]
        if expected:
            np.testing.assert_allclose(converted['keypoints'][0, index], points[name])
    assert sum(name in points for name in names) == 12
    assert cfg.model.backbone.frozen_stages == 2
    steps = [part.pipeline[0] for part in cfg.train_dataloader.dataset.datasets]
    assert [step.padding for step in steps] == [0.85, 1.05]
    assert cfg.test_dataloader.dataset.pipeline[0].padding == 1.05
    # On synthetic people, only the head is trained if the backbone has ImageNet weights.
    first = make_config(ROWS['coco-d'], args, is_synthetic=True).model.backbone
    assert (first.frozen_stages, first.norm_eval) == (4, True)
    assert cfg.test_dataloader.dataset.data_root == str(coco)
    for part in (cfg.test_dataloader.dataset, cfg.test_evaluator[0]):
        assert part.ann_file == str(out / 'annotations/coco_val.json')
    (tmp_path / 'imagenet.pth').write_bytes(b'other')
    with pytest.raises(ConfigError, match=r'imagenet.pth differs from what the other runs used'):
        prepare(ROWS['coco-c'], args)


def test_row_of_coco_is_trained_and_printed(
    tmp_path: Path, data: Path, coco: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(real_photographs, '_SYNTHETIC', dict(train=6, val=1))
    monkeypatch.setattr(real_photographs, 'BATCH_SIZE', 4)
    monkeypatch.setitem(ROWS, 'coco-d', Row('moganet-xt', synthetic='sports', coco=True))
    out = tmp_path / 'runs'
    options = ['--data', str(data), '--coco', str(coco), '--out', str(out)]
    size = ['--input-size', '48', '64']
    main(['coco-d', *options, '--synthetic-steps', '2', '--steps', '2', *size])
    result = json.loads((out / 'coco-d-64x48-2+2-seed0/result.json').read_text())
    assert 'PCK/nose' in result['metrics']
    assert 'PCK/neck' not in result['metrics']
    other = dict(result, row='x', metrics={'PCK/neck': 50.0, **dict.fromkeys(_SHARED, 0.0)})
    other['frozen_stages'] = 1
    lines = list(table([result, other]))
    assert '| synthetic (sports); stages 0 to 1 frozen | 0 | 2 |' in lines[3]
    assert lines[-1] == '| neck |  | 50.0 |'
    for changes, titles in (
        ([{}, dict(size='128x96', steps=5)], 'coco-d 64x48 | coco-d 128x96'),
        ([{}, dict(seed=1)], 'coco-d seed 0 | coco-d seed 1'),
        (
            [{}, dict(steps=5, seed=1), dict(steps=5, seed=2), dict(row='x')],
            'coco-d 2 | coco-d 5 seed 1 | coco-d 5 seed 2 | x',
        ),
        ([{}, dict(synthetic_steps=3)], 'coco-d synthetic 2 | coco-d synthetic 3'),
        ([{}, dict(frozen_stages=1)], 'coco-d frozen -1 | coco-d frozen 1'),
    ):
        assert _names([dict(result, **change) for change in changes]) == titles.split(' | ')
    lines = list(table([result, dict(result, seed=1), dict(result, steps=5)]))
    assert len(lines) == 5 + 1 + 2 + len([key for key in result['metrics'] if 'PCK/' in key])
    assert '| joint | coco-d 2 | coco-d 5 |' in lines
    assert '| coco-d | 64x48 | synthetic (sports) |' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('size', 'sigma', 'blur'), [('144 192', 4 / 3, 5), ('192 256', 2.0, 11), ('288 384', 2.0, 11)]
)
def test_codec_of_a_crop_size(size: str, sigma: float, blur: int, tmp_path: Path, data: Path):
    size_options = ['--input-size', *size.split()]
    args = parse_args(['a', '--data', str(data), '--out', str(tmp_path / 'runs'), *size_options])
    cfg = make_config(ROWS['a'], args, is_synthetic=False)
    (encode,) = [x for x in cfg.train_dataloader.dataset.pipeline if x.type == 'GenerateTarget']
    width, height = args.input_size
    for codec in (cfg.codec, cfg.model.head.decoder, encode.encoder):
        assert (codec.sigma, codec.blur_kernel_size) == (sigma, blur)
        assert tuple(codec.heatmap_size) == (width // 4, height // 4)


def test_wrong_arguments(tmp_path: Path, data: Path) -> None:
    out = ['--out', str(tmp_path / 'runs')]
    for options, message in (
        (
            ['x'],
            "row 'x': expected some of a, b, c, d, d-everyday, moganet-a, moganet-b, coco-c, "
            'coco-d',
        ),
        (['a'], '--data None: expected a directory with annotations/train.json'),
        (['a', '--steps', '1'], '--steps 1: expected at least 2'),
        (['b', '--synthetic-steps', '0'], '--synthetic-steps 0: expected at least 2'),
        (['c', '--data', str(data)], '--imagenet None: row c needs this file'),
        (['coco-c', '--data', str(data)], '--coco None: row coco-c needs the directory of COCO'),
        ([], 'no row is complete'),
        (
            ['a', '--data', str(data), '--frozen-stages', '1'],
            '--frozen-stages 1: row a has no ImageNet weights',
        ),
        (['--frozen-stages', '5'], '--frozen-stages 5: expected -1 to 4'),
        (['--frozen-stages', '-2'], '--frozen-stages -2: expected -1 to 4'),
        (['--input-size', '96', '130'], '--input-size .*130.: expected a width and a height'),
        (['--input-size', '28', '32'], '--input-size .*28, 32.: .* at least 32'),
    ):
        with pytest.raises(ConfigError, match=message):
            main([*options, *out])


def test_failed_test_of_a_synthetic_model_ends_the_row(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that predicts NaN is trained further; no other failure is hidden."""
    monkeypatch.setattr(real_photographs, '_SYNTHETIC', dict(train=6, val=1))
    tools = []

    def fail(reason: str, name: str, *arguments: str) -> None:
        tools.append(name)
        if name == 'test.py':
            raise WorkDirError(f'test.py ended with exit status 1: {reason}')

    options = ['moganet-b', '--data', str(data), '--out', str(tmp_path / 'runs')]
    for reason, trainings in (('Killed', 1), ('the model predicts keypoints that are NaN', 2)):
        tools.clear()
        monkeypatch.setattr(real_photographs, '_tool', partial(fail, reason))
        with pytest.raises(WorkDirError, match='test.py ended'):
            main(options)
        assert tools.count('train.py') == trainings


def test_annotations_do_not_depend_on_splits_and_boxes(tmp_path: Path, data: Path) -> None:
    """`convert-dataset` writes one folder for both splits, and chooses them at random."""
    converted = tmp_path / 'converted'
    (converted / 'annotations').mkdir(parents=True)
    (converted / 'images').mkdir()
    parts = [json.loads((data / f'annotations/{split}.json').read_text()) for split in _SPLITS]
    images, people = ([x for part in parts for x in part[key]] for key in ('images', 'annotations'))
    for split, chosen in zip(_SPLITS, (images[:1], images[1:]), strict=True):
        ids = {image['id'] for image in chosen}
        content = dict(
            images=chosen,
            annotations=[
                dict(x, bbox=[0, 0, 5, 5], area=9) for x in people if x['image_id'] in ids
            ],
            categories=parts[0]['categories'],
        )
        (converted / f'annotations/{split}.json').write_text(json.dumps(content))
    for folder in (data, converted):
        write_annotations(folder, 'lspet', tmp_path / folder.name / 'runs')
    for split in _SPLITS:
        expected, found = (
            json.loads(selected_file(tmp_path / folder.name / 'runs', 'lspet', split).read_text())
            for folder in (data, converted)
        )
        assert expected['images'][0]['file_name'].startswith(f'{split}/')
        for image in (*expected['images'], *found['images']):
            folder, image['file_name'] = image['file_name'].split('/')
            assert folder in (split, 'images')
        assert found == expected


def test_boxes_of_lspet(tmp_path: Path) -> None:
    """The margin is a fifth of the longer side; the box ends at the border of the image."""
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'images').mkdir()
    points = np.zeros((14, 3))
    points[2:4] = (10, 30, 2), (50, 110, 2)
    images = [dict(id=n, file_name=f'im{n:05}.jpg', width=60, height=200) for n in (3, 8)]
    person = dict(id=1, category_id=1, num_keypoints=2, keypoints=points.ravel().tolist())
    for split, image in zip(_SPLITS, images, strict=True):
        content = dict(
            images=[image],
            annotations=[dict(person, image_id=image['id'])],
            categories=[dict(id=1, keypoints=list(JOINTS))],
        )
        (tmp_path / f'annotations/{split}.json').write_text(json.dumps(content))
    (tmp_path / 'images.json').write_text(json.dumps(dict(lspet=dict(train=[8], val=[3]))))
    write_annotations(tmp_path, 'lspet', tmp_path / 'runs')
    content = json.loads((tmp_path / 'runs/annotations/lspet_val.json').read_text())
    (person,), (image,) = content['annotations'], content['images']
    assert image['file_name'] == 'images/im00003.jpg'
    assert person['image_id'] == image['id'] == 3
    assert person['bbox'] == [0, 14, 60, 112]
    assert person['area'] == pytest.approx(0.53 * 60 * 112, abs=0.1)
    (tmp_path / 'images.json').write_text(json.dumps(dict(lspet=dict(train=[8], val=[3, 4, 5]))))
    with pytest.raises(
        DatasetError, match='no photograph 4 of lspet, and lacks 2 of the 3 for val'
    ):
        write_annotations(tmp_path, 'lspet', tmp_path / 'runs')


def test_minutes_are_those_of_all_parts_of_a_run(tmp_path: Path) -> None:
    for name, times in (('a', ('23:59:30', '00:00:00')), ('b', ('07:00:00', '07:02:00'))):
        (tmp_path / name).mkdir()
        days = ('2026/01/31', '2026/02/01') if name == 'a' else ('2026/02/01',) * 2
        lines = [f'{day} {time} - mmengine - INFO - x' for day, time in zip(days, times)]
        (tmp_path / name / f'{name}.log').write_text('\n'.join([*lines, 'of several', 'lines']))
    assert _minutes(tmp_path) == 2.5


def test_selected_photographs() -> None:
    counts = dict(lspet=(5000, 600), coco=(111, 73))
    for name, splits in json.loads(IMAGES.read_text()).items():
        assert tuple(map(len, splits.values())) == counts.pop(name)
        numbers = [number for split in splits.values() for number in split]
        assert len({*numbers}) == len(numbers)
    assert not counts
