"""Checkpoints of torch.save, MMEngine and safetensors as plain data."""

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


def same(one, other) -> bool:
    """Whether two objects have the same classes, values and versions."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        wide = torch.complex128 if one.is_complex() else torch.float64
        return (
            one.dtype == other.dtype
            and one.shape == other.shape
            and one.stride() == other.stride()
            and one.requires_grad == other.requires_grad
            and torch.equal(one.to(wide), other.to(wide))
        )
    if isinstance(one, (np.ndarray, np.generic)):
        return (
            one.dtype == other.dtype
            and one.shape == other.shape
            and (one.tobytes() == other.tobytes())
        )
    if isinstance(one, HistoryBuffer):
        return one.max_length == other.max_length and all(
            same(*pair) for pair in zip(one.data, other.data)
        )
    if isinstance(one, dict):
        return (
            list(one) == list(other)
            and same(getattr(one, '_metadata', None), getattr(other, '_metadata', None))
            and all(same(one[key], other[key]) for key in one)
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return one == other


def test_mmengines_own_checkpoint_is_read_back(training_checkpoint):
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
def test_what_was_read_and_saved_is_read_again(training_checkpoint, tmp_path, how):
    """Read, save, read, save, read: by a user's script as by a resume."""
    content = read_checkpoint(training_checkpoint[0])
    for name in ('once.pth', 'twice.pth'):
        torch.save(content, tmp_path / name, **how)
        again = read_checkpoint(tmp_path / name)
        assert same(content, again)
        content = again


def _leaf(rng: np.random.Generator):
    """One of everything that the reader admits, drawn."""
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


def _tree(rng: np.random.Generator, depth: int = 0):
    if depth == 3 or rng.random() < 0.3:
        return _leaf(rng)
    parts = [_tree(rng, depth + 1) for _ in range(rng.integers(0, 5))]
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
def test_whatever_is_admitted_survives_reading_and_saving(tmp_path, how):
    """A property of 60 drawn objects for each format."""
    rng = np.random.default_rng(5)
    for number in range(60):
        tree = {'part': _tree(rng), 'leaf': _leaf(rng)}
        torch.save(tree, tmp_path / 'one.pth', **how)
        read = read_file(tmp_path / 'one.pth')
        assert same(tree, read), number
        torch.save(read, tmp_path / 'two.pth')
        assert same(tree, read_file(tmp_path / 'two.pth')), number


def test_shared_objects_are_shared(tmp_path):
    weight = torch.ones(3)
    torch.save({'a': weight, 'b': weight, 'c': weight[1:], 'd': [weight]}, tmp_path / 'shared.pth')
    read = read_file(tmp_path / 'shared.pth')
    assert read['a'] is read['b'] is read['d'][0]
    read['a'][1] = 7
    assert read['c'].tolist() == [7, 1]


class _PlainArray(np.ndarray):
    """As an earlier version of the reader left behind in files."""


_PlainArray.__module__ = 'pose_backbones.compat.checkpoint'


def test_files_with_the_arrays_of_earlier_readers_are_read(tmp_path, monkeypatch):
    module = ModuleType(_PlainArray.__module__)  # it existed in that version only
    module._PlainArray = _PlainArray
    monkeypatch.setitem(sys.modules, module.__name__, module)
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


def test_what_is_kept_as_text_or_as_a_dict(tmp_path):
    """A value of the file's meta does not cost the weights."""
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
def test_versions_that_are_none(tmp_path, metadata):
    weights = OrderedDict(a=torch.ones(1))
    weights._metadata = metadata
    torch.save(weights, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match='malformed _metadata'):
        read_file(tmp_path / 'x.pth')


def test_text_of_no_characters(tmp_path):
    torch.save({'a': np.frombuffer(b'\xff' * 8, '<u4').view('<U2')}, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match='text that is none'):
        read_file(tmp_path / 'x.pth')


def test_arguments_of_a_training_script_become_a_dict(tmp_path):
    from argparse import Namespace

    torch.save({'model': {}, 'args': Namespace(lr=0.1, as_subclass=3)}, tmp_path / 'timm.pth')
    assert read_file(tmp_path / 'timm.pth')['args'] == {'lr': 0.1, 'as_subclass': 3}


@pytest.mark.parametrize('dtype', ['float32', 'complex64', 'int16'])
def test_the_other_byte_order(tmp_path, dtype):
    """A file of a big-endian machine, made from one of this machine."""
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


def test_the_format_is_told_by_the_content(tmp_path):
    weights = {'a.weight': torch.ones(2)}
    save_file(weights, tmp_path / 'safetensors.pth')
    torch.save(weights, tmp_path / 'torch.safetensors')
    for file in tmp_path.iterdir():
        assert read_file(file)['a.weight'].tolist() == [1, 1]


def test_loaders_of_mmengine_read_as_data_too(tmp_path):
    torch.save({'state_dict': {'a': torch.ones(1)}}, tmp_path / 'a.pth')
    read = CheckpointLoader.load_checkpoint(
        str(tmp_path / 'a.pth'), map_location='cpu', logger='silent'
    )
    assert read['state_dict']['a'].tolist() == [1]
    torch.save(_Line(), tmp_path / 'model.pth')
    with pytest.raises(CheckpointError, match=r'is a .*test_read_file\._Line'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'model.pth'), logger='silent')


@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.module.'])
def test_weights_keep_the_versions_of_their_modules(prefix):
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
