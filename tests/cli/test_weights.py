"""Tests of `pose-backbones weights`."""

import hashlib

import pytest
import torch

from pose_backbones.checkpoints.downloads import Release, cached_file
from pose_backbones.checkpoints.loading import read_checkpoint
from pose_backbones.cli.weights import main
from pose_backbones.errors import CheckpointError, ConfigError
from pose_backbones.inference.torchvision_detector import list_torchvision_detectors
from pose_backbones.utils.option_values import DETECTORS
from pose_backbones.zoo import list_models, list_releases, read_models, releases
from tests.helpers.faulty_server import File, faulty_server

NAME = 'td-hm_moganet-xt_8xb32-210e_coco-256x192'
RTMPOSE = 'rtmpose-t_8xb256-420e_body8-256x192'


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('POSE_BACKBONES_OFFLINE', '1')
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    return tmp_path


def rows(capsys) -> dict[str, list[str]]:
    """Return name → other columns of the printed table."""
    return {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}


def save(path, value: float = 1.0) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({'a': torch.tensor(value)}, path)
    return path.read_bytes()


def test_list_has_all_models_and_states(capsys):
    url = read_models()[NAME].weights
    size = len(save(cached_file(url)))
    assert main(['list']) == 0
    table = rows(capsys)
    assert table.keys() == {*list_models(source='all'), *DETECTORS, *list_torchvision_detectors()}
    assert table[NAME] == [f'{size:,}', 'B', 'cached', url]
    other = 'td-hm_moganet-s_8xb32-210e_coco-256x192'
    assert table[other] == ['not', 'cached', read_models()[other].weights]
    assert table['td-hm_moganet-s_8xb32-210e_crowdpose-256x192'] == ['no', 'weights']
    assert table['rtmdet-m'][:2] == ['not', 'cached']
    assert table['torchvision::ssd300_vgg16'][2].startswith('https://download.pytorch.org/models/')
    assert table['rtmdet-m'][2].startswith('https://download.openmmlab.com/mmdetection/')


@pytest.mark.parametrize('pattern', ['moganet-xt', '*moganet-xt*', 'MogaNet-XT', '*[M]oganet-xt*'])
def test_list_of_a_pattern(capsys, pattern):
    assert main(['list', pattern]) == 0
    assert list(rows(capsys)) == list_models('*moganet-xt*')


@pytest.mark.parametrize(
    ('pattern', 'name'),
    [
        ('vitpose', 'td-hm_ViTPose-base_8xb64-210e_coco-256x192'),
        ('hand', 'rtmpose-m_8xb256-210e_hand5-256x256'),
        ('RTMDet-T', 'rtmdet-tiny'),
        ('MMPose::hand', 'rtmpose-m_8xb256-210e_hand5-256x256'),
        ('pose_backbones::moganet-xt', NAME),
    ],
)
def test_list_ignores_case_and_knows_other_names(capsys, pattern, name):
    assert main(['list', pattern]) == 0
    assert name in rows(capsys)


@pytest.mark.parametrize(
    ('pattern', 'closest'),
    [
        ('*moganett*', 'moganet-t'),
        (f'mmpose::{NAME}', 'td-hm_'),
        ('rtmdet-x', 'rtmdet-s or rtmdet-m or rtmdet-l?'),
    ],
)
def test_list_of_an_unknown_name(capsys, pattern, closest):
    with pytest.raises(ConfigError) as error:
        main(['list', pattern])
    assert f'no name of a model or detector matches {pattern!r}: expected' in str(error.value)
    assert f'did you mean {closest}' in str(error.value)
    assert capsys.readouterr().out == ''


def test_fetch_of_an_unknown_detector(capsys):
    assert main(['fetch', 'rtmdet-x']) == 1
    assert capsys.readouterr().err == (
        "error: rtmdet-x: unknown detector 'rtmdet-x': expected rtmdet-tiny, rtmdet-s, rtmdet-m, "
        'rtmdet-l or torchvision::NAME; did you mean rtmdet-s or rtmdet-m or rtmdet-l?\n'
    )


def test_fetch_of_a_config_names_the_model(capsys):
    path = f'configs/moganet/{NAME}.py'
    assert main(['fetch', path]) == 1
    assert capsys.readouterr().err == (
        f"error: {path}: '{path}' is the path of a config: expected the name of a model, {NAME}. "
        'From Python, PoseInferencer takes the path of a config\n'
    )
    assert main(['fetch', 'nonsense']) == 1
    assert 'path of a config' not in capsys.readouterr().err


def test_fetch_and_verify_from_a_mirror(home, capsys, monkeypatch):
    """By a short name; from a directory, the file is used in place."""
    url = list_releases(RTMPOSE)[RTMPOSE].urls[0]
    file = home / 'mirror' / url.removeprefix('https://')
    content = save(file)
    monkeypatch.setenv('POSE_BACKBONES_MIRROR', str(home / 'mirror'))
    assert main(['fetch', 'rtmpose-t', NAME]) == 1
    printed = capsys.readouterr()
    actual = hashlib.sha256(content).hexdigest()
    digits = url.split('-')[-1].split('_')[0]
    assert f'its SHA-256 is {actual}: expected {digits}… (the file name)' in printed.err
    assert f'error: {NAME}: checkpoint not cached' in printed.err
    assert file.read_bytes() == content
    url = read_models()[NAME].weights
    file = home / 'mirror' / url.removeprefix('https://')
    size = len(save(file))
    assert main(['fetch', NAME]) == 0
    assert capsys.readouterr().out == f'{NAME}: {file} ({size:,} B)\n'


def test_fetch_url_and_verify(home, capsys, monkeypatch):
    content = save(home / 'x.pth', 3.0)
    monkeypatch.delenv('POSE_BACKBONES_OFFLINE')
    with faulty_server({'/x.pth': File(content)}) as server:
        url = f'{server.url}/x.pth'
        assert main(['fetch', url, url, f'{server.url}/none.pth']) == 1
        assert server.requests == [('/x.pth', ''), ('/none.pth', '')]
    printed = capsys.readouterr()
    assert printed.out == f'{url}: {cached_file(url)} ({len(content):,} B)\n'
    assert printed.err.startswith(f'error: {server.url}/none.pth: checkpoint out of reach')
    assert 'Use another URL; or, without' in printed.err
    assert f'save it as {cached_file(f"{server.url}/none.pth")}, or put it into' in printed.err
    assert 'init_cfg' not in printed.err
    assert 'path of the file' not in printed.err
    with pytest.raises(CheckpointError, match='the path of the file. To train .*init_cfg=None'):
        read_checkpoint(f'{server.url}/none.pth')
    assert main(['verify', url]) == 0
    assert capsys.readouterr().out.startswith(f'{url}: ok (complete, no SHA-256 is known) ')
    assert main(['verify', NAME]) == 1
    assert capsys.readouterr().err == f'error: {NAME}: not cached\n'
    cached_file(url).write_bytes(content[:-100])
    assert main(['verify', url]) == 1
    assert 'is truncated or damaged' in capsys.readouterr().err
    assert cached_file(url).read_bytes() == content[:-100]


def test_verify_all_cached_files(home, capsys):
    """Only cached ones are listed; a damaged one is not changed."""
    url = list_releases(RTMPOSE)[RTMPOSE].urls[0]
    content = save(cached_file(url))
    save(cached_file(read_models()[NAME].weights))
    assert main(['verify']) == 1
    printed = capsys.readouterr()
    assert [line.split(': ')[0] for line in printed.out.splitlines()] == [NAME]
    assert hashlib.sha256(content).hexdigest() in printed.err
    assert cached_file(url).read_bytes() == content


def test_models_without_weights_and_unknown_names(capsys):
    assert main(['fetch', 'moganet-s_crowdpose-256x192', 'moganett']) == 1
    err = capsys.readouterr().err
    assert 'td-hm_moganet-s_8xb32-210e_crowdpose-256x192 has no released weights' in err
    assert 'did you mean' in err


def test_other_urls_of_the_metafile_are_used(home, monkeypatch):
    """MMEngine's loader gets a URL; the other URLs and the SHA-256 are found by it."""
    content = save(home / 'x.pth', 5.0)
    monkeypatch.delenv('POSE_BACKBONES_OFFLINE')
    with faulty_server({'/x.pth': File(content)}) as server:
        urls = (f'{server.url}/gone.pth', f'{server.url}/x.pth')
        for sha256, expected in ((hashlib.sha256(content).hexdigest(), 5.0), ('0' * 64, None)):
            release = Release(urls, sha256)
            monkeypatch.setattr(releases, '_by_url', lambda r=release: {urls[0]: r})
            if expected is None:
                cached_file(urls[1]).unlink()
                with pytest.raises(Exception, match=f'expected {"0" * 64}'):
                    read_checkpoint(urls[0])
            else:
                assert read_checkpoint(urls[0])['a'] == expected
                assert cached_file(urls[1]).read_bytes() == content
