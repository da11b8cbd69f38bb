"""Tests that checkpoints of torch.save, MMEngine and safetensors are read as plain data."""

import math
import sys
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.optim.scheduler import OneCycleLR
from mmengine.runner import CheckpointLoader, Runner
from safetensors.torch import save_file

from pose_backbones.checkpoints import read_file
from pose_backbones.checkpoints.loading import get_weights, read_checkpoint
from pose_backbones.errors import CheckpointError

FORMATS = [
    dict(),
    dict(_use_new_zipfile_serialization=False),
    dict(pickle_protocol=3),
    dict(pickle_protocol=4),
    dict(pickle_protocol=5),
    dict(pickle_protocol=4, _use_new_zipfile_serialization=False),
]


class _LinearModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x, mode='loss'):
        return dict(loss=self.layer(torch.stack(x)).square().mean())


@pytest.fixture(scope='module')
def training_checkpoint(tmp_path_factory):
    """Train for three steps with MMEngine; return its checkpoint and the runner."""
    folder = tmp_path_factory.mktemp('run')
    runner = Runner(
        model=_LinearModel(),
        work_dir=str(folder),
        train_dataloader=dict(
            dataset=[{'x': torch.ones(2)} for _ in range(3)],
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=1,
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        param_scheduler=[
            dict(type='ConstantLR', factor=0.5, end=1),
            dict(type='MultiStepLR', milestones=[2, 2]),
            dict(type='OneCycleLR', eta_max=0.1, total_steps=30),
        ],
        default_scope='mmengine',
    )
    runner.train()
    return folder / 'epoch_1.pth', runner


def is_identical(first, second) -> bool:
    """Return whether two objects have the same classes, values and `_metadata`."""
    if type(first) is not type(second):
        return False
    if isinstance(first, torch.Tensor):
        wide = torch.complex128 if first.is_complex() else torch.float64
        return (
            first.dtype == second.dtype
            and first.shape == second.shape
            and first.stride() == second.stride()
            and first.requires_grad == second.requires_grad
            and torch.equal(first.to(wide), second.to(wide))
        )
    if isinstance(first, (np.ndarray, np.generic)):
        return (
            first.dtype == second.dtype
            and first.shape == second.shape
            and (first.tobytes() == second.tobytes())
        )
    if isinstance(first, HistoryBuffer):
        return first.max_length == second.max_length and all(
            is_identical(*pair) for pair in zip(first.data, second.data)
        )
    if isinstance(first, dict):
        return (
            list(first) == list(second)
            and is_identical(getattr(first, '_metadata', None), getattr(second, '_metadata', None))
            and all(is_identical(first[key], second[key]) for key in first)
        )
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(is_identical, first, second))
    if isinstance(first, float) and math.isnan(first):
        return math.isnan(second)
    return first == second


def test_mmengine_checkpoint_is_read(training_checkpoint):
    path, runner = training_checkpoint
    content = read_checkpoint(path)
    assert content['meta']['iter'] == 3
    for name, value in runner.model.state_dict().items():
        assert torch.equal(content['state_dict'][name], value)
    history = content['message_hub']['log_scalars']['train/loss']
    assert type(history) is HistoryBuffer
    expected = runner.message_hub.get_scalar('train/loss')
    assert history.data[0] == pytest.approx(expected.data[0])
    assert history.mean() == pytest.approx(np.mean(expected.data[0]))
    assert history.statistics('min') == pytest.approx(min(expected.data[0]))
    schedules = content['param_schedulers']
    assert schedules[1]['milestones'] == Counter({2: 2})
    assert schedules[2]['anneal_func'] is OneCycleLR._annealing_cos


@pytest.mark.parametrize('how', FORMATS, ids=str)
def test_mmengine_checkpoint_survives_two_round_trips(training_checkpoint, tmp_path, how):
    """A user's script or a resumed run may save what was read."""
    content = read_checkpoint(training_checkpoint[0])
    for name in ('once.pth', 'twice.pth'):
        torch.save(content, tmp_path / name, **how)
        again = read_checkpoint(tmp_path / name)
        assert is_identical(content, again)
        content = again


def _random_leaf(rng: np.random.Generator):
    """Return a random instance of a random supported type."""
    size = tuple(rng.integers(0, 4, rng.integers(0, 4)))
    numbers = rng.integers(0, 2, size)
    return rng.choice(
        np.array(
            [
                lambda: None,
                lambda: bool(rng.integers(2)),
                lambda: int(rng.integers(-(2**62), 2**62)) << int(rng.integers(99)),
                lambda: float(rng.normal()),
                lambda: math.nan,
                lambda: -math.inf,
                lambda: complex(*rng.normal(size=2)),
                lambda: 'größe\n' * int(rng.integers(3)) + '\U0001f600',
                lambda: rng.bytes(int(rng.integers(3))),
                lambda: bytearray(rng.bytes(int(rng.integers(3)))),
                lambda: torch.Size(map(int, size)),
                lambda: torch.float16,
                lambda: torch.device('cuda', 1),
                lambda: {1, 'a'},
                lambda: {(1, 'a'), b'x'},
                lambda: frozenset((1, b'', (2, None))),
                lambda: {b'key': 1, ('a', 2): b'', 2.5: None},
                lambda: Counter(a=3),
                lambda: HistoryBuffer([1.5, 2], [1, 2], 9),
                lambda: HistoryBuffer(),
                lambda: torch.tensor(numbers).to(
                    getattr(
                        torch,
                        rng.choice(
                            [
                                'float32',
                                'float64',
                                'float16',
                                'bfloat16',
                                'int64',
                                'uint8',
                                'bool',
                                'complex64',
                                'float8_e4m3fn',
                            ]
                        ),
                    )
                ),
                lambda: torch.nn.Parameter(torch.ones(3)),
                lambda: torch.ones(4, 3).t()[1:],
                lambda: numbers.astype(
                    rng.choice(['f4', 'f8', 'f2', '>i4', 'i8', 'u1', '?', 'c8', 'S3', 'U2'])
                ),
                lambda: np.asfortranarray(numbers.astype('f4')),
                lambda: np.float32(2.5),
                lambda: np.int64(-3),
                lambda: np.bool_(True),
                lambda: np.str_('text'),
                lambda: np.array(3.0),
            ],
            object,
        )
    )()


def _random_tree(rng: np.random.Generator, depth: int = 0):
    if depth == 3 or rng.random() < 0.3:
        return _random_leaf(rng)
    parts = [_random_tree(rng, depth + 1) for _ in range(rng.integers(0, 5))]
    kind = rng.integers(4)
    if kind == 0:
        return parts
    if kind == 1:
        return tuple(parts)
    keys = [f'key.{number}' if number % 2 else number for number in range(len(parts))]
    if kind == 2:
        return dict(zip(keys, parts))
    ordered = OrderedDict(zip(keys, parts))
    ordered._metadata = OrderedDict({'': {'version': 2}, 'a.b': {}})
    return ordered


@pytest.mark.parametrize('how', FORMATS, ids=str)
def test_supported_types_survive_round_trip(tmp_path, how):
    """60 random objects for each format."""
    rng = np.random.default_rng(5)
    for number in range(60):
        tree = {'part': _random_tree(rng), 'leaf': _random_leaf(rng)}
        torch.save(tree, tmp_path / 'one.pth', **how)
        read = read_file(tmp_path / 'one.pth')
        assert is_identical(tree, read), number
        torch.save(read, tmp_path / 'two.pth')
        assert is_identical(tree, read_file(tmp_path / 'two.pth')), number


def test_shared_objects_remain_shared(tmp_path):
    weight = torch.ones(3)
    torch.save({'a': weight, 'b': weight, 'c': weight[1:], 'd': [weight]}, tmp_path / 'shared.pth')
    read = read_file(tmp_path / 'shared.pth')
    assert read['a'] is read['b'] is read['d'][0]
    read['a'][1] = 7
    assert read['c'].tolist() == [7, 1]


class _PlainArray(np.ndarray):
    """Array class that files of pose_backbones 0.x may contain."""


_PlainArray.__module__ = 'pose_backbones.compat.checkpoint'


def test_arrays_of_pose_backbones_0x_are_read(tmp_path, monkeypatch):
    for name in ('pose_backbones.compat', 'pose_backbones.compat.checkpoint'):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules['pose_backbones.compat.checkpoint']._PlainArray = _PlainArray
    sigmas = np.array([0.1, 0.2]).view(_PlainArray)
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    history._log_history = history._log_history.view(_PlainArray)
    torch.save({'meta': {'sigmas': sigmas}, 'h': history}, tmp_path / 'old.pth')
    monkeypatch.undo()
    read = read_file(tmp_path / 'old.pth')
    assert type(read['meta']['sigmas']) is np.ndarray
    assert read['meta']['sigmas'].tolist() == [0.1, 0.2]
    assert type(read['h'].data[0]) is np.ndarray
    assert read['h'].data[0].tolist() == [1, 2]


def test_paths_versions_and_default_dicts_become_plain(tmp_path):
    """Metadata of these types does not prevent the weights from being read."""
    torch.save(
        {'path': Path('a/b.py'), 'version': torch.__version__, 'counts': defaultdict(list, a=[1])},
        tmp_path / 'x.pth',
    )
    assert read_file(tmp_path / 'x.pth') == {
        'path': 'a/b.py',
        'version': str(torch.__version__),
        'counts': {'a': [1]},
    }


@pytest.mark.parametrize(
    'metadata', [{'': {'version': '1'}}, {'': {'version': [2]}}, {'': 3}, {1: {}}, [1]]
)
def test_malformed_metadata_raises(tmp_path, metadata):
    weights = OrderedDict(a=torch.ones(1))
    weights._metadata = metadata
    torch.save(weights, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match='malformed _metadata'):
        read_file(tmp_path / 'x.pth')


def test_array_of_invalid_text_raises(tmp_path):
    torch.save({'a': np.frombuffer(b'\xff' * 8, '<u4').view('<U2')}, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match='invalid text'):
        read_file(tmp_path / 'x.pth')


def test_namespace_becomes_dict(tmp_path):
    from argparse import Namespace

    torch.save({'model': {}, 'args': Namespace(lr=0.1, as_subclass=3)}, tmp_path / 'timm.pth')
    assert read_file(tmp_path / 'timm.pth')['args'] == {'lr': 0.1, 'as_subclass': 3}


@pytest.mark.parametrize('dtype', ['float32', 'complex64', 'int16'])
def test_big_endian_file_is_read(tmp_path, dtype):
    """The big-endian file is converted from one of this machine."""
    import zipfile

    values = torch.arange(1, 4).to(getattr(torch, dtype))
    torch.save({'a': values}, tmp_path / 'little.pth')
    with (
        zipfile.ZipFile(tmp_path / 'little.pth') as little,
        zipfile.ZipFile(tmp_path / 'big.pth', 'w') as big,
    ):
        for name in little.namelist():
            content = little.read(name)
            if name.endswith('byteorder'):
                content = b'big'
            elif '/data/' in name:
                array = np.frombuffer(content, dtype)
                content = array.byteswap().tobytes()
            big.writestr(name, content)
    assert torch.equal(read_file(tmp_path / 'big.pth')['a'], values)


def test_format_is_determined_by_content(tmp_path):
    weights = {'a.weight': torch.ones(2)}
    save_file(weights, tmp_path / 'safetensors.pth')
    torch.save(weights, tmp_path / 'torch.safetensors')
    for file in tmp_path.iterdir():
        assert read_file(file)['a.weight'].tolist() == [1, 1]


def test_mmengine_loaders_read_data_only(tmp_path):
    torch.save({'state_dict': {'a': torch.ones(1)}}, tmp_path / 'a.pth')
    read = CheckpointLoader.load_checkpoint(
        str(tmp_path / 'a.pth'), map_location='cpu', logger='silent'
    )
    assert read['state_dict']['a'].tolist() == [1]
    torch.save(_LinearModel(), tmp_path / 'model.pth')
    with pytest.raises(CheckpointError, match=r'contains .*test_read_file\._LinearModel'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'model.pth'), logger='silent')


@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.module.'])
def test_get_weights_keeps_module_versions(prefix):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    state = model.state_dict()
    outer = prefix.rstrip('.')
    wrapped = OrderedDict((prefix + name, value) for name, value in state.items())
    wrapped._metadata = OrderedDict(
        {'': {}, **{f'{outer}.{name}'.strip('.'): entry for name, entry in state._metadata.items()}}
    )
    weights = get_weights({'state_dict': wrapped})
    assert list(weights) == list(state)
    assert weights._metadata == state._metadata
    assert weights._metadata['1']['version'] == 2
