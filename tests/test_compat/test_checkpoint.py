"""Safe checkpoint loading."""

import functools
import http.server
import os
import pickle
import threading

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner

from pose_backbones.utils.checkpoint import read_checkpoint
from pose_backbones.utils.errors import CheckpointError


class _Line(BaseModel):

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x, mode='loss'):
        return dict(loss=self.layer(torch.stack(x)).square().mean())


@pytest.fixture(scope='module')
def training_checkpoint(tmp_path_factory):
    """What MMEngine really writes, after three steps of training."""
    folder = tmp_path_factory.mktemp('run')
    runner = Runner(
        model=_Line(),
        work_dir=str(folder),
        train_dataloader=dict(
            dataset=[{'x': torch.ones(2)} for _ in range(3)],
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=1),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        param_scheduler=dict(type='ConstantLR', factor=0.5, end=1),
        default_scope='mmengine')
    runner.train()
    return folder / 'epoch_1.pth', runner


class _Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}', )


class _AskForAttribute:
    """Asks for an attribute by name when it is unpickled."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name

    def __reduce__(self):
        return getattr, (self.owner, self.name)


def test_mmengines_own_checkpoint_is_read_back(training_checkpoint):
    path, runner = training_checkpoint
    content = torch.load(path, weights_only=True)
    assert content['meta']['iter'] == 3
    for name, value in runner.model.state_dict().items():
        assert torch.equal(content['state_dict'][name], value)
    history = content['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    expected = runner.message_hub.get_scalar('train/loss')
    assert history.data[0] == pytest.approx(expected.data[0])
    assert history.mean() == pytest.approx(np.mean(expected.data[0]))
    assert history.statistics('min') == pytest.approx(min(expected.data[0]))


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    path, proof = tmp_path / 'attack.pth', tmp_path / 'it_ran'
    torch.save({'state_dict': {}, 'extra': _Attack(proof)}, path)
    with pytest.raises(CheckpointError, match='refused: .*attack.pth.*run '):
        read_checkpoint(str(path))
    with pytest.raises(pickle.UnpicklingError):
        CheckpointLoader.load_checkpoint(str(path), logger='silent')
    assert not proof.exists()


@pytest.mark.parametrize(('owner', 'name'), [
    (HistoryBuffer, '__init__'),
    (HistoryBuffer, 'register_statistics'),
    (np.ndarray, 'tofile'),
])
def test_only_the_statistics_of_a_history_may_be_asked_for(
        tmp_path, owner, name):
    path = tmp_path / 'asks.pth'
    torch.save({'extra': _AskForAttribute(owner, name)}, path)
    with pytest.raises(CheckpointError, match='asks.pth'):
        read_checkpoint(str(path))


class _ObjectArray:
    """Builds an array of objects out of bytes, which are addresses."""

    def __reduce__(self):
        return np.ndarray, ((1, ), np.dtype('O'), b'A' * 8)


class _ObjectState:
    """The same by the way that numpy's own pickles take."""

    def __reduce__(self):
        rebuild = np.arange(1).__reduce__()[0]
        state = (1, (1, ), np.dtype('O'), False, [1])
        return rebuild, (np.ndarray, (0, ), b'b'), state


@pytest.mark.parametrize('attack', [_ObjectArray, _ObjectState])
def test_arrays_of_objects_are_refused(tmp_path, attack):
    torch.save({'extra': attack()}, tmp_path / 'array.pth')
    with pytest.raises(CheckpointError, match=r'array\.pth'):
        read_checkpoint(str(tmp_path / 'array.pth'))


@pytest.mark.parametrize('array', [
    np.arange(6.).reshape(2, 3), np.arange(6).reshape(2, 3).T,
    np.array([True, False]), np.ones((1, 2, 1), np.float32),
    np.float64(3.5), np.int64(-2)])
def test_arrays_of_numbers_are_read_back(tmp_path, array):
    torch.save({'array': array}, tmp_path / 'array.pth')
    read = read_checkpoint(str(tmp_path / 'array.pth'))['array']
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_model_zoo_schemes_are_safe_too(tmp_path, server):
    from mmengine.runner import checkpoint as host
    proof = tmp_path / 'it_ran'
    torch.save({'extra': _Attack(proof)}, tmp_path / 'attack.pth')
    with pytest.raises(pickle.UnpicklingError):
        host.load_from_http(f'{server}/attack.pth')
    assert not proof.exists()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server of this machine over `tmp_path`; yields its address."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)

    class Quiet(http.server.SimpleHTTPRequestHandler):

        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    httpd = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{httpd.server_address[1]}'
    httpd.shutdown()
    thread.join()


def test_downloads_are_read_safely_too(tmp_path, server):
    weights = {'layer.weight': torch.arange(4.)}
    torch.save({'state_dict': weights}, tmp_path / 'good.pth')
    content = read_checkpoint(f'{server}/good.pth')
    assert torch.equal(content['state_dict']['layer.weight'],
                       torch.arange(4.))

    proof = tmp_path / 'it_ran'
    torch.save({'extra': _Attack(proof)}, tmp_path / 'attack.pth')
    with pytest.raises(CheckpointError, match='refused'):
        read_checkpoint(f'{server}/attack.pth')
    assert not proof.exists()


def test_an_unreachable_url_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(
            CheckpointError, match=r'out of reach: http://127\.0\.0\.1:9'):
        read_checkpoint('http://127.0.0.1:9/weights.pth')
