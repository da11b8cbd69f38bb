"""Tests that loading rejects weights whose values are invalid."""

import json

import pytest
import torch
from mmpose.apis import init_model
from safetensors import safe_open

from pose_backbones.checkpoints.loading import get_weights, load_weights, read_checkpoint
from pose_backbones.cli.convert import convert_checkpoint
from pose_backbones.errors import CheckpointError

FIRST = 'backbone.patch_embed1.projection.0.weight'


@pytest.fixture(scope='module')
def config(tiny_config) -> str:
    """Return the path of a config with a MogaNet of 40,000 parameters."""
    return str(tiny_config)


@pytest.fixture(scope='module')
def model(config):
    torch.manual_seed(0)
    return init_model(config, None, device='cpu')


@pytest.fixture(scope='module')
def trained(model) -> dict[str, torch.Tensor]:
    """Return weights that all differ from the initial ones."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.rand(value.shape, generator=generator) + 0.5
        if value.is_floating_point()
        else value + 7
        for name, value in model.state_dict().items()
    }


def _floats(change):
    return lambda trained: {
        name: change(value) if value.is_floating_point() else value
        for name, value in trained.items()
    }


def _first(change):
    return lambda trained: {**trained, FIRST: change(trained[FIRST])}


def _one_nan(value):
    value = value.clone()
    value.view(-1)[3] = torch.nan
    return value


INVALID = {
    'int': (_floats(lambda v: v.int()), 'int32 in place of float32'),
    'bool': (_floats(lambda v: v > 1), 'bool in place of float32'),
    'complex': (_floats(lambda v: v + 1j), 'complex64 in place of float32'),
    'float8': (_floats(lambda v: v.to(torch.float8_e4m3fn)), 'float8_e4m3fn in place of float32'),
    'NaN': (_floats(lambda v: v * torch.nan), 'values are NaN or infinite'),
    'one NaN': (_first(_one_nan), r'1 of \d+ values are NaN or infinite'),
    'infinite': (_first(lambda v: v / 0), 'values are NaN or infinite'),
    'beyond float32': (_first(lambda v: v.double() * 1e300), 'values are NaN or infinite'),
    'negative variances': (
        lambda trained: {
            name: -value if name.endswith('running_var') else value
            for name, value in trained.items()
        },
        'a negative variance',
    ),
    'counts of floats': (
        lambda trained: {
            name: value + 0.5 if name.endswith('batches_tracked') else value
            for name, value in trained.items()
        },
        'float32 in place of int64',
    ),
}
VALID = {
    'float16': _floats(lambda v: v.half()),
    'bfloat16': _floats(lambda v: v.bfloat16()),
    'float64': _floats(lambda v: v.double()),
    'parameters': _floats(torch.nn.Parameter),
    'whole numbers as floats': lambda trained: {
        name: value.float() if name.endswith('batches_tracked') else value
        for name, value in trained.items()
    },
}


@pytest.mark.parametrize('case', INVALID)
def test_invalid_values_are_rejected(model, trained, tmp_path, case, config):
    change, message = INVALID[case]
    torch.save({'state_dict': change(trained)}, tmp_path / 'x.pth')
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = get_weights(read_checkpoint(tmp_path / 'x.pth'))
    with pytest.raises(CheckpointError, match=message):
        load_weights(model, weights, 'x.pth')
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    with pytest.raises(CheckpointError, match=message):
        init_model(config, str(tmp_path / 'x.pth'), device='cpu')


@pytest.mark.parametrize('case', VALID)
def test_other_dtypes_are_converted(model, trained, tmp_path, case, config):
    changed = VALID[case](trained)
    torch.save({'state_dict': changed}, tmp_path / 'x.pth')
    loaded = init_model(config, str(tmp_path / 'x.pth'), device='cpu')
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, changed[name].to(value.dtype)), name


def test_non_strict_skips_invalid_values(model, trained, mmengine_log):
    load_weights(model, _first(_one_nan)(trained), 'x.pth', strict=False)
    text = ' '.join(record.getMessage() for record in mmengine_log.records)
    assert f'unusable values: {FIRST} (1 of' in text
    assert model.state_dict()[FIRST].isfinite().all()


@pytest.mark.parametrize('prefix', ['module.', '_orig_mod.', 'averaged'])
def test_init_model_strips_wrapper_prefixes(config, trained, tmp_path, prefix):
    if prefix == 'averaged':
        content = {
            'ema_state_dict': {
                **{f'module.{name}': value for name, value in trained.items()},
                'steps': torch.tensor(3),
            }
        }
    else:
        content = {'state_dict': {prefix + name: value for name, value in trained.items()}}
    torch.save(content, tmp_path / 'x.pth')
    loaded = init_model(config, str(tmp_path / 'x.pth'), device='cpu')
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, trained[name])


@pytest.mark.parametrize('part', ['head', 'backbone', 'nothing'])
def test_init_model_rejects_incomplete_weights(config, trained, tmp_path, part):
    torch.save(
        {
            'state_dict': {name: value for name, value in trained.items() if name.startswith(part)}
            or {'a': torch.ones(1)}
        },
        tmp_path / 'x.pth',
    )
    with pytest.raises(CheckpointError, match='missing in the file'):
        init_model(config, str(tmp_path / 'x.pth'), device='cpu')


def test_load_state_dict_rejects_unmatched_backbone(model, trained):
    """Also with `strict=False`, for a file whose backbone has another prefix."""
    with pytest.raises(CheckpointError, match='missing in the file'):
        model.load_state_dict(
            {f'_orig_mod.{name}': value for name, value in trained.items()}, strict=False
        )


@pytest.mark.parametrize(
    ('key', 'shown'),
    [
        (5, 'key 5, a int'),
        (None, 'key None'),
        (('a', 1), r"\('a', 1\)"),
        (b'x', "key b'x', a bytes"),
    ],
)
def test_keys_that_are_not_strings_raise(tmp_path, trained, key, shown):
    torch.save({'state_dict': {**trained, key: torch.zeros(1)}}, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match=shown):
        get_weights(read_checkpoint(tmp_path / 'x.pth'))


@pytest.mark.parametrize('key', ['', 'a\nerror: fake\x1b[31m', 'a\ud800', 'x' * 10**6, '..'])
def test_error_shortens_and_escapes_names(model, trained, key):
    with pytest.raises(CheckpointError, match='unknown to') as error_info:
        load_weights(model, {**trained, key: torch.zeros(1)}, 'x.pth')
    text = str(error_info.value)
    assert len(text) < 1000
    assert text.isprintable()


def test_recursive_wrappers_raise():
    content = {}
    content['state_dict'] = content
    with pytest.raises(CheckpointError, match='within 10 levels'):
        get_weights(content)


@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
def test_conversion_keeps_module_versions(model, tmp_path, ending, config):
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'from.pth')
    target = tmp_path / f'to{ending}'
    convert_checkpoint(str(tmp_path / 'from.pth'), str(target), config)
    read = get_weights(read_checkpoint(target))
    assert read._metadata['head'] == {'version': 2}
    if ending == '.safetensors':
        with safe_open(target, 'pt') as opened:
            assert json.loads(opened.metadata()['state_dict_metadata'])['head'] == {'version': 2}
