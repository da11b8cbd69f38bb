"""Tests of finding the weights in a checkpoint, and of safetensors files."""

import pytest
import torch
from safetensors.torch import save_file

from pose_backbones.checkpoints.loading import WEIGHT_KEYS, get_weights, read_checkpoint
from pose_backbones.errors import CheckpointError

WEIGHTS_A = {'a.weight': torch.ones(2), 'b.bias': torch.zeros(1)}
WEIGHTS_B = {'a.weight': torch.ones(2) * 2, 'b.bias': torch.zeros(1)}


@pytest.mark.parametrize('key', WEIGHT_KEYS)
def test_get_weights_finds_every_known_entry(key):
    content = {'epoch': 3, 'optimizer': {'lr': 0.1}, key: {**WEIGHTS_A, 'n': 4}}
    assert get_weights(content) == WEIGHTS_A


@pytest.mark.parametrize(
    ('entries', 'expected'),
    [
        (('state_dict_ema', 'state_dict'), 'state_dict'),
        (('model_ema', 'model'), 'model'),
        (('student', 'teacher'), 'teacher'),
        (('teacher', 'model'), 'model'),
    ],
)
def test_get_weights_prefers_entries_in_order(entries, expected):
    content = {key: WEIGHTS_A if key == expected else WEIGHTS_B for key in entries}
    assert get_weights(content)['a.weight'] is WEIGHTS_A['a.weight']
    other = next(key for key in entries if key != expected)
    chosen = get_weights(content, key=other)
    assert chosen['a.weight'] is WEIGHTS_B['a.weight']


def test_get_weights_finds_nested_entries():
    assert get_weights({'state_dict': {'model': WEIGHTS_A}}) == WEIGHTS_A


@pytest.mark.parametrize(
    'prefix', ['module.', '_orig_mod.', 'module._orig_mod.', '_orig_mod.module.']
)
def test_get_weights_strips_wrapper_prefixes(prefix):
    wrapped = {prefix + name: value for name, value in WEIGHTS_A.items()}
    assert get_weights({'state_dict': wrapped}) == WEIGHTS_A


def test_get_weights_drops_step_counter_of_averaged_model():
    averaged = {f'module.{name}': value for name, value in WEIGHTS_A.items()}
    averaged['steps'] = torch.tensor(7)
    assert get_weights({'ema_state_dict': averaged}) == WEIGHTS_A


def test_get_weights_keeps_submodule_named_module():
    weights = {'module.weight': torch.ones(1), 'other': torch.ones(1)}
    assert get_weights(weights) == weights


@pytest.mark.parametrize(
    ('content', 'key', 'message'),
    [
        (
            {'state_dict': WEIGHTS_A},
            'model_ema',
            "no weights under 'model_ema' in the checkpoint: expected state_dict",
        ),
        (WEIGHTS_A, 'model', 'expected none, they stand at the top'),
        ({'model': {'n': 3}}, None, 'no weights in the checkpoint: it has the keys model'),
    ],
)
def test_get_weights_without_weights_raises(content, key, message):
    with pytest.raises(CheckpointError, match=message):
        get_weights(content, key)


def test_safetensors_are_read(tmp_path):
    path = tmp_path / 'net.safetensors'
    save_file(WEIGHTS_A, path)
    weights = get_weights(read_checkpoint(str(path)))
    assert weights.keys() == WEIGHTS_A.keys()
    assert all(torch.equal(weights[name], WEIGHTS_A[name]) for name in WEIGHTS_A)


def test_damaged_safetensors_raise(tmp_path):
    path = tmp_path / 'net.safetensors'
    save_file(WEIGHTS_A, path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(
        CheckpointError, match=(r'unreadable: .*net\.safetensors is a damaged safetensors file')
    ):
        read_checkpoint(str(path))
    with pytest.raises(CheckpointError, match=r'did you mean net\.saf'):
        read_checkpoint(str(tmp_path / 'nte.safetensors'))
