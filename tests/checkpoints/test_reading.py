"""What files hold their weights in, and safetensors."""

import pytest
import torch
from safetensors.torch import save_file

from pose_backbones.checkpoints.loading import WRAPPERS, get_weights, read_checkpoint
from pose_backbones.errors import CheckpointError

ONE = {'a.weight': torch.ones(2), 'b.bias': torch.zeros(1)}
TWO = {'a.weight': torch.ones(2) * 2, 'b.bias': torch.zeros(1)}


@pytest.mark.parametrize('key', WRAPPERS)
def test_weights_are_found_under_every_entry(key):
    content = {'epoch': 3, 'optimizer': {'lr': 0.1}, key: {**ONE, 'n': 4}}
    assert get_weights(content) == ONE


@pytest.mark.parametrize(
    ('entries', 'expected'),
    [
        (('state_dict_ema', 'state_dict'), 'state_dict'),
        (('model_ema', 'model'), 'model'),
        (('student', 'teacher'), 'teacher'),
        (('teacher', 'model'), 'model'),
    ],
)
def test_the_first_of_several_entries_counts(entries, expected):
    content = {key: ONE if key == expected else TWO for key in entries}
    assert get_weights(content)['a.weight'] is ONE['a.weight']
    other = next(key for key in entries if key != expected)
    chosen = get_weights(content, key=other)
    assert chosen['a.weight'] is TWO['a.weight']


def test_entries_in_entries():
    assert get_weights({'state_dict': {'model': ONE}}) == ONE


@pytest.mark.parametrize(
    'prefix', ['module.', '_orig_mod.', 'module._orig_mod.', '_orig_mod.module.']
)
def test_wrappers_of_the_model_leave_the_names(prefix):
    wrapped = {prefix + name: value for name, value in ONE.items()}
    assert get_weights({'state_dict': wrapped}) == ONE


def test_the_counter_of_an_averaged_model_is_no_weight():
    averaged = {f'module.{name}': value for name, value in ONE.items()}
    averaged['steps'] = torch.tensor(7)
    assert get_weights({'ema_state_dict': averaged}) == ONE


def test_a_module_of_that_name_stays():
    weights = {'module.weight': torch.ones(1), 'other': torch.ones(1)}
    assert get_weights(weights) == weights


@pytest.mark.parametrize(
    ('content', 'key', 'message'),
    [
        (
            {'state_dict': ONE},
            'model_ema',
            "no weights under 'model_ema' in the checkpoint: expected state_dict",
        ),
        (ONE, 'model', 'expected none, they stand at the top'),
        ({'model': {'n': 3}}, None, 'no weights in the checkpoint: it has the keys model'),
    ],
)
def test_weights_that_are_not_there(content, key, message):
    with pytest.raises(CheckpointError, match=message):
        get_weights(content, key)


def test_safetensors(tmp_path):
    path = tmp_path / 'net.safetensors'
    save_file(ONE, path)
    weights = get_weights(read_checkpoint(str(path)))
    assert weights.keys() == ONE.keys()
    assert all(torch.equal(weights[name], ONE[name]) for name in ONE)


def test_damaged_safetensors(tmp_path):
    path = tmp_path / 'net.safetensors'
    save_file(ONE, path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(
        CheckpointError,
        match=(
            r'unreadable: .*net\.safetensors is a safetensors file that is '
            'damaged'
        ),
    ):
        read_checkpoint(str(path))
    with pytest.raises(CheckpointError, match=r'did you mean net\.saf'):
        read_checkpoint(str(tmp_path / 'nte.safetensors'))
