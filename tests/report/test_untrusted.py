"""Tests of untrusted results: no file next to them is executed."""

import json
import os
import time

import pytest

from pose_backbones.cli.report import main
from pose_backbones.errors import ConfigError, DatasetError
from tests.helpers.report_cases import NAMES, POSE, Case, Page

#: code that shows that a file was executed
RUN = "__import__('os').system('touch RAN')"

CONFIG = """
data_root = '{folder}/'
test_dataloader = dict(dataset=dict(
    type='CocoDataset', data_root=data_root_, ann_file='truth.json',
    data_prefix=dict(img='images/'){more}))
test_evaluator = dict(type='CocoMetric', ann_file='{folder}/truth.json')
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Create results, annotations and a config, as in the work directory of a test."""
    case = Case()
    image = case.image()
    case.person(image, POSE + 50)
    case.predict(image, POSE + 52)
    results, _ = case.write(tmp_path)
    os.rename(results, tmp_path / 'predictions.keypoints.json')
    write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_config(folder, more: str = '', extra: str = '') -> None:
    text = CONFIG.format(folder=folder, more=more).replace('data_root_', repr(f'{folder}/'))
    (folder / 'config.py').write_text(text + extra)


def make(folder, *more: str) -> str:
    main(
        [
            str(folder / 'predictions.keypoints.json'),
            '--out',
            str(folder / 'page.html'),
            '--overwrite',
            *more,
        ]
    )
    return (folder / 'page.html').read_text()


@pytest.mark.parametrize(
    'extra',
    [
        f'\n{RUN}\n',
        f'\nvalue = {RUN}\n',
        f'\nif True:\n    {RUN}\n',
        f'\ndef f(x={RUN}):\n    pass\n',
        f'\nclass C:\n    x = {RUN}\n',
        f'\ncustom_imports = dict(imports=["evil"])\ntest_cfg = f"{{{RUN}}}"\n',
        f'\nimport evil\nfrom evil import *\n_base_ = {RUN}\n',
    ],
)
def test_config_next_to_results_is_not_executed(folder, extra):
    (folder / 'evil.py').write_text(f'{RUN}\n')
    write_config(folder, extra=extra)
    page = make(folder)
    assert 'CocoDataset of the config' in page
    assert not (folder / 'RAN').exists()
    page = make(folder, '--title', 'x')
    assert not (folder / 'RAN').exists()


@pytest.mark.parametrize('name', ['anything.py', 'a/vis_data/config.py'])
def test_other_python_files_are_not_executed(folder, name):
    """The newest file is used, and an error is raised if it is not a config."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'# test_evaluator\n{RUN}\n')
    later = time.time() + 60
    os.utime(path, (later, later))
    if '/' not in name:
        with pytest.raises(
            ConfigError,
            match=(
                r'config unreadable: .*anything\.py does not define '
                r'test_evaluator as a plain value, and its code is not '
                r'executed: pass it with --config, or the annotations'
            ),
        ):
            make(folder)
    else:
        make(folder)
    assert not (folder / 'RAN').exists()
    make(folder, '--ann', str(folder / 'truth.json'))
    assert not (folder / 'RAN').exists()


def test_config_option_is_executed(folder):
    write_config(folder, extra='\nopen("RAN", "w").close()\n')
    make(folder)
    assert not (folder / 'RAN').exists()
    make(folder, '--config', str(folder / 'config.py'))
    assert (folder / 'RAN').exists()


@pytest.mark.parametrize(
    'place',
    ['description.py', 'configs/_base_/datasets/mine.py', 'configs/_base_/datasets/coco.py'],
)
def test_metainfo_of_the_config_is_not_executed(folder, place):
    import mmpose

    shipped = f'{os.path.dirname(mmpose.__file__)}/.mim/configs/_base_/datasets/coco.py'
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(open(shipped).read() + f'\n{RUN}\n')
    write_config(folder, f', metainfo=dict(from_file={place!r})')
    assert 'CocoDataset of the config' in make(folder)
    # Its class refers to a metainfo file relative to the current directory.
    write_config(folder)
    assert 'CocoDataset of the config' in make(folder)
    assert not (folder / 'RAN').exists()


@pytest.mark.parametrize(
    'place',
    [
        'configs/_base_/datasets/../../../evil.py',
        'none.py',
        '/dev/zero',
        'fifo.py',
        'config.py',
        'truth.json',
    ],
)
def test_invalid_metainfo_raises(folder, place):
    os.mkfifo(folder / 'fifo.py')
    (folder / 'evil.py').write_text(f'{RUN}\n')
    write_config(folder, f', metainfo=dict(from_file={place!r})')
    with pytest.raises(
        ConfigError,
        match='cannot read the metainfo of the config .*: pass the metainfo with --metainfo',
    ):
        make(folder)
    assert not (folder / 'RAN').exists()


@pytest.mark.parametrize('kind', ['evil.Data', 'os.system', 'mmpose.evil', 'NoSuchDataset', ''])
def test_dataset_type_is_not_imported(folder, monkeypatch, kind):
    monkeypatch.syspath_prepend(folder)
    (folder / 'evil.py').write_text(f'{RUN}\nclass Data: pass\n')
    text = (folder / 'config.py').read_text().replace('CocoDataset', kind)
    (folder / 'config.py').write_text(text)
    assert 'those of MMPose' in make(folder)
    assert not (folder / 'RAN').exists()


@pytest.mark.parametrize(
    'value',
    [
        '7',
        '[7]',
        'dict(dataset=[1])',
        'dict(dataset=dict(type=3, data_root=4, data_prefix=[1], ann_file=dict(), metainfo=7))',
    ],
)
def test_malformed_configs(folder, value):
    with open(folder / 'config.py', 'a') as file:
        file.write(f'\ntest_dataloader = {value}\n')
    figures = {row[0]: row[1] for row in Page(make(folder)).tables['coco'][1:]}
    assert float(figures['AP']) > 0.9


def test_blocking_files_raise(folder):
    results = folder / 'predictions.keypoints.json'
    os.mkfifo(folder / 'fifo.json')
    os.mkfifo(folder / 'newest.py')
    logs = folder / '20240101_000000/vis_data'
    logs.mkdir(parents=True)
    os.mkfifo(logs / 'scalars.json')
    make(folder)
    page = ['--out', str(folder / 'other.html')]
    for arguments, message in (
        (
            [str(folder / 'fifo.json'), '--ann', str(folder / 'truth.json')],
            'cannot read the results .*named pipe',
        ),
        (
            [str(results), '--ann', str(folder / 'fifo.json')],
            'cannot read the annotations .*named pipe',
        ),
        ([str(results), '--ann', '/dev/zero'], 'cannot read the annotations .*character device'),
    ):
        with pytest.raises(DatasetError, match=message):
            main([*arguments, *page])


@pytest.mark.parametrize(
    'change',
    [
        lambda truth, results: results[0].update(image_id=[1]),
        lambda truth, results: results[0].update(image_id={}),
        lambda truth, results: results[0].update(category_id=[1]),
        lambda truth, results: results[0].update(category_id='person'),
        lambda truth, results: results[0].update(score='high'),
        lambda truth, results: results[0].update(score=10**400),
        lambda truth, results: results[0].update(keypoints=[[1]] * 51),
        lambda truth, results: results[0].update(keypoints='x' * 51),
        lambda truth, results: results.append(7),
        lambda truth, results: truth['images'].append(7),
        lambda truth, results: truth['images'].append({}),
        lambda truth, results: truth['images'].append(dict(id=[1], file_name='a')),
        lambda truth, results: truth['images'].append(dict(id=9, file_name=3)),
        lambda truth, results: truth['annotations'].append('x'),
        lambda truth, results: truth['annotations'][0].update(image_id=[]),
        lambda truth, results: truth['annotations'][0].update(keypoints=7),
        lambda truth, results: truth['categories'].append(None),
        lambda truth, results: truth['categories'][0].update(id=[]),
    ],
)
def test_malformed_content_raises(folder, change):
    truth = json.loads((folder / 'truth.json').read_text())
    path = folder / 'predictions.keypoints.json'
    results = json.loads(path.read_text())
    change(truth, results)
    (folder / 'truth.json').write_text(json.dumps(truth))
    path.write_text(json.dumps(results))
    with pytest.raises(DatasetError, match=r'\.json'):
        make(folder)


def test_deeply_nested_json_raises(folder):
    (folder / 'predictions.keypoints.json').write_text('[' * 100_000)
    with pytest.raises(DatasetError, match='cannot read the results'):
        make(folder)


def test_names_that_are_not_utf8(folder):
    name = os.fsdecode(b'bad\xff\xfename')
    truth = json.loads((folder / 'truth.json').read_text())
    truth['images'][0]['file_name'] = f'{name}.jpg'
    (folder / 'truth.json').write_text(json.dumps(truth))
    other = folder / f'{name}.keypoints.json'
    os.rename(folder / 'predictions.keypoints.json', other)
    (folder / 'images').mkdir(exist_ok=True)
    main([str(other), '--out', str(folder / 'page.html')])
    assert b'bad\xff\xfename' in (folder / 'page.html').read_bytes()


def test_halves_of_surrogate_pairs_are_escaped(tmp_path):
    case = Case(['left \ud800', *NAMES[1:]])
    image = case.image()
    case.predict(image, case.person(image, POSE + 50))
    results, truth = case.write(tmp_path)
    out = tmp_path / 'page.html'
    main([results, '--ann', truth, '--out', str(out)])
    assert Page(out.read_text()).tables['keypoints'][1][0] == 'left \\ud800'


def test_markup_in_names_is_escaped(tmp_path):
    """Names of files, keypoints and logged metrics, and the title."""
    evil = '</style></svg></title><script>alert(1)</script><img src=x onerror="a()">{{ 7 * 7 }}'
    names = [f'{evil} {number}' for number in range(len(NAMES))]
    case = Case(names)
    image = case.image(f'{evil}.jpg')
    case.predict(image, case.person(image, POSE + 50))
    results, truth = case.write(tmp_path)
    logs = tmp_path / 'logs/1/vis_data'
    logs.mkdir(parents=True)
    entries = [{'step': step, 'loss': 1 / step} for step in (1, 2)]
    entries += [{'step': step, f'{evil}/AP': step / 2} for step in (1, 2)]
    (logs / 'scalars.json').write_text('\n'.join(map(json.dumps, entries)))
    (tmp_path / 'images').mkdir()
    options = ['--images', str(tmp_path / 'images'), '--logs', str(tmp_path / 'logs')]
    out = tmp_path / 'page.html'
    main([results, '--ann', truth, '--title', evil, '--out', str(out), *options])
    page = Page(out.read_text())
    tags = {tag for tag, _ in page.elements}
    assert tags & {'script', 'img'} == set()
    assert not [name for _, attributes in page.elements for name in attributes if name[:2] == 'on']
    assert [row[0] for row in page.tables['keypoints'][1:]] == [
        name.replace('_', ' ') for name in names
    ]
    assert page.words.count(evil) == 2  # title and heading
    assert f'{evil}/AP' in page.words
    assert page.tables['worst'][1][0] == f'{evil}.jpg'
    assert [meta['content'] for meta in page.all('meta') if 'http-equiv' in meta] == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    ]
