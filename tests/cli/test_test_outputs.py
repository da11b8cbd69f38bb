"""Tests of the output files of tools/test.py: checked before the test and written atomically."""

import json
import os
import pickle
import re
from pathlib import Path

import pytest
from mmengine.config import Config

from pose_backbones.cli import test as test_api
from pose_backbones.cli import test_outputs
from pose_backbones.cli.test_outputs import check_outputs
from pose_backbones.configs import load_config
from pose_backbones.errors import WorkDirError
from tests.helpers.tools import small_disk


@pytest.fixture(scope='module')
def weights(tiny_config, tmp_path_factory):
    """Checkpoint of the tiny model with random weights."""
    import torch
    from mmpose.registry import MODELS
    from mmpose.utils import register_all_modules

    register_all_modules()
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(str(tiny_config)).model)
    path = tmp_path_factory.mktemp('weights') / 'weights.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    return path


@pytest.fixture
def run(tiny_config, weights, synthetic, tmp_path):
    """Function that runs tools/test.py in this process."""

    def test(*options, checkpoint=weights):
        test_api.main(
            [
                str(argument)
                for argument in (
                    tiny_config,
                    checkpoint,
                    '--data-root',
                    synthetic,
                    '--work-dir',
                    tmp_path / 'work',
                    *options,
                )
            ]
        )

    return test


@pytest.fixture
def no_test(monkeypatch):
    """Make the test fail if it builds a runner."""

    def fail(*_):
        raise AssertionError('work has begun')

    monkeypatch.setattr(test_api, 'build_runner', fail)


@pytest.fixture
def disk(tmp_path):
    """Directory on a disk of 1 MB."""
    with small_disk(tmp_path / 'disk', '1m') as folder:
        yield folder


def fill(folder: Path) -> None:
    """Fill the disk of a directory."""
    status = os.statvfs(folder)
    (folder / 'filler').write_bytes(bytes(status.f_bavail * status.f_frsize))


@pytest.fixture(scope='module')
def config(tiny_config):
    """Loaded config of the tiny model."""
    return load_config(str(tiny_config))


@pytest.mark.parametrize('option', ['--out', '--dump', '--show-dir', '--work-dir'])
@pytest.mark.parametrize(
    'place', ['below a file', '/proc', 'too long', 'a loop', 'of another kind', 'full']
)
def test_outputs_are_checked_before_the_test(config, tmp_path, request, option, place):
    name = {'--out': 'm.json', '--dump': 'd.pkl'}.get(option, 'd')
    (tmp_path / 'file').write_text('kept')
    (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
    path = {
        'below a file': tmp_path / 'file' / name,
        '/proc': Path('/proc/none') / name,
        'too long': tmp_path / ('x' * 300 + name),
        'a loop': tmp_path / 'loop' / name,
    }.get(place)
    if place == 'of another kind':
        path = tmp_path / name
        if option in ('--out', '--dump'):
            path.mkdir()
        else:
            path.write_text('a file')
    elif place == 'full':
        disk = request.getfixturevalue('disk')
        fill(disk)
        path = disk / name
    cfg = config.copy()
    cfg.work_dir = str(tmp_path / 'work')
    files = dict(out=None, dump=None)
    if option == '--work-dir':
        cfg.work_dir = str(path)
    elif option == '--show-dir':
        cfg.default_hooks.visualization.update(enable=True, out_dir=str(path))
    else:
        files[option[2:]] = str(path)
    with pytest.raises(WorkDirError, match=f'^{option} {re.escape(str(path))}'):
        check_outputs(cfg, **files, config='c.py', checkpoint='w.pth')
    assert (tmp_path / 'file').read_text() == 'kept'


def test_unwritable_outputs_raise_before_the_test(run, no_test, tmp_path):
    (tmp_path / 'file').write_text('kept')
    for option, name in (
        ('--out', 'a.json'),
        ('--dump', 'a.pkl'),
        ('--show-dir', 'a'),
        ('--work-dir', 'a'),
    ):
        with pytest.raises((WorkDirError, OSError)) as caught:
            run(option, tmp_path / 'file' / name)
        assert f'{tmp_path}/file' in str(caught.value)


def test_inputs_are_not_overwritten(run, no_test, weights, synthetic, tmp_path):
    truth = synthetic / 'annotations/person_keypoints_val.json'
    content = truth.read_bytes()
    (tmp_path / 'link.json').symlink_to(truth)
    for option, path in (('--out', truth), ('--out', tmp_path / 'link.json')):
        with pytest.raises(WorkDirError, match=f'{option}.* is an input of this command'):
            run(option, path)
    copy = tmp_path / 'weights.pkl'
    copy.write_bytes(weights.read_bytes())
    for option in ('--out', '--dump'):
        with pytest.raises(WorkDirError, match='is an input'):
            run(option, copy, checkpoint=copy)
    with pytest.raises(WorkDirError, match='--show-dir .*/val is a directory of the dataset'):
        run('--show-dir', synthetic / 'val')
    with pytest.raises(WorkDirError, match='--out and --dump are the same'):
        run('--out', tmp_path / 'a.pkl', '--dump', tmp_path / 'a.pkl')
    prefix = str(truth).removesuffix('.json')
    named = Path(f'{prefix}.keypoints.json')
    assert truth.read_bytes() == content
    assert copy.read_bytes() == weights.read_bytes()
    assert not named.exists()


@pytest.mark.parametrize(
    ('option', 'name', 'content'),
    [
        ('--out', 'a.json', b'{"images": [], "annotations": []}'),
        ('--out', 'a.json', b'[1, 2]'),
        ('--out', 'a.json', b'text'),
        ('--out', 'a.yml', b'model: x'),
        ('--out', 'a.pkl', b'PK\x03\x04'),
        ('--dump', 'a.pkl', b'PK\x03\x04'),
        ('--dump', 'a.pickle', b'text'),
        ('--out', 'a.json', b' ' * 70_000 + b'{}'),
    ],
)
def test_other_files_are_not_overwritten(run, no_test, tmp_path, option, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WorkDirError, match='is not an output of a test'):
        run(option, tmp_path / name)
    assert (tmp_path / name).read_bytes() == content


def test_outputs_contain_metrics_and_predictions(run, tmp_path, monkeypatch):
    seen = {}
    original = test_outputs.TestOutputs.test

    def test(self):
        seen.update(original(self))
        return seen

    monkeypatch.setattr(test_outputs.TestOutputs, 'test', test)
    prefix = tmp_path / 'new/predictions'
    run(
        '--out',
        tmp_path / 'm.json',
        '--dump',
        tmp_path / 'new/d.pkl',
        '--show-dir',
        tmp_path / 'drawn',
        '--cfg-options',
        f'test_evaluator.outfile_prefix={prefix}',
    )
    metrics = json.loads((tmp_path / 'm.json').read_text())
    assert metrics == seen
    assert metrics['coco/AP'] == pytest.approx(0, abs=0.1)
    people = pickle.loads((tmp_path / 'new/d.pkl').read_bytes())
    results = json.loads(Path(f'{prefix}.keypoints.json').read_text())
    assert len(people) == len(results) > 0
    drawn = sorted(file.name for file in (tmp_path / 'drawn').iterdir())
    assert len(drawn) == len(people)
    assert not [name for name in drawn if 'part' in name]
    assert sorted(os.listdir(tmp_path / 'new')) == ['d.pkl', 'predictions.keypoints.json']


def test_interval_of_drawn_samples(run, tmp_path):
    run('--dump', tmp_path / 'd.pkl', '--show-dir', tmp_path / 'drawn', '--interval', 5)
    people = pickle.loads((tmp_path / 'd.pkl').read_bytes())
    drawn = list((tmp_path / 'drawn').iterdir())
    assert len(drawn) == (len(people) + 4) // 5


def test_full_disk_after_the_test_keeps_earlier_files(run, tmp_path, disk, capfd, monkeypatch):
    """The metrics are printed, and earlier files are unchanged."""
    earlier = {'m.json': b'{"coco/AP": 0.25}', 'd.pkl': b'\x80\x04N.', 'p.keypoints.json': b'[]'}
    for name, content in earlier.items():
        (disk / name).write_bytes(content)
    original = test_outputs.TestOutputs.test

    def test(self):
        fill(disk)
        return original(self)

    monkeypatch.setattr(test_outputs.TestOutputs, 'test', test)
    with pytest.raises(WorkDirError) as caught:
        run(
            '--out',
            disk / 'm.json',
            '--dump',
            disk / 'd.pkl',
            '--show-dir',
            disk / 'drawn',
            '--cfg-options',
            f'test_evaluator.outfile_prefix={disk}/p',
        )
    message = str(caught.value)
    for name in ('m.json', 'd.pkl', 'p.keypoints.json', 'drawn/'):
        assert f'{disk}/{name}' in message
    assert message.count('No space left on device') == 4
    assert message.endswith('are not lost')
    shown = capfd.readouterr()
    assert 'Average Precision' in shown.out + shown.err
    for name, content in earlier.items():
        assert (disk / name).read_bytes() == content
    assert not list(disk.glob('**/*part*'))
    assert not list((disk / 'drawn').glob('*'))


def test_full_work_dir_keeps_metrics(run, tmp_path, disk, monkeypatch):
    original = test_outputs.TestOutputs.test

    def test(self):
        fill(disk)
        return original(self)

    monkeypatch.setattr(test_outputs.TestOutputs, 'test', test)
    with pytest.raises(
        WorkDirError,
        match=f'{disk}.* cannot be written: No space left on device. The metrics were printed',
    ):
        run('--work-dir', disk, '--out', tmp_path / 'm.json')
    assert 'coco/AP' in json.loads((tmp_path / 'm.json').read_text())
