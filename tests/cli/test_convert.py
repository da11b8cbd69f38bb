"""tools/convert_checkpoint.py, and a released file in tools/test.py."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from pose_backbones.checkpoints.conversion import convert_state_dict
from pose_backbones.checkpoints.loading import get_weights, read_checkpoint
from pose_backbones.cli import convert as api
from pose_backbones.cli import test as test_api
from pose_backbones.errors import CheckpointError, ConfigError, WorkDirError
from pose_backbones.models.backbones import ConvNeXt, MogaNet, UniFormer
from tests.helpers.tools import run_tool, small_disk


def heatmap_head(in_channels, **kwargs):
    from mmpose.registry import MODELS
    from mmpose.utils import register_all_modules

    register_all_modules()
    return MODELS.build(
        dict(
            type='mmpose.HeatmapHead',
            in_channels=in_channels,
            out_channels=17,
            **{'deconv_out_channels': (8, 4), 'deconv_kernel_sizes': (4, 2), **kwargs},
        )
    )


def old_release(backbone, head):
    """Names of MMPose 0.x for the weights of two modules."""
    weights = {f'backbone.{name}': value for name, value in backbone.state_dict().items()}
    for name, value in head.state_dict().items():
        weights[f'keypoint_head.{name}'] = value
    return weights


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def released(tmp_path):
    """A MogaNet-XT of MMPose 0.x with its head, as a training leaves it."""
    torch.manual_seed(0)
    weights = old_release(MogaNet('x-tiny'), heatmap_head(192))
    path = tmp_path / 'moganet_xt.pth'
    torch.save(
        {
            'state_dict': weights,
            'optimizer': {'state': {}},
            'meta': {'dataset_meta': {'sigmas': np.arange(3.0), 'names': ['nose', 'eye']}},
        },
        path,
    )
    return path, weights


@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
def test_both_formats_are_written(released, tmp_path, capsys, ending):
    """The tool writes one of them in a process of its own."""
    path, weights = released
    target = tmp_path / 'new' / f'net{ending}'
    if ending == '.pth':
        done = run_tool('convert_checkpoint.py', path, target, real=True)
        assert done.returncode == 0, done.stdout
        printed = done.stdout
    else:
        api.main([str(path), str(target)])
        printed = capsys.readouterr().out
    assert f'{path}: MogaNet, MMPose 0.x, from its entry state_dict' in printed
    assert f'{target}: {len(weights)} tensors, verified by a strict load' in printed
    content = read_checkpoint(str(target))
    assert same(get_weights(content), convert_state_dict(weights))
    assert [file.name for file in target.parent.iterdir()] == [target.name]

    account = dict(source='moganet_xt.pth', family='MogaNet', naming='MMPose 0.x')
    if ending == '.pth':
        meta = content['meta']['dataset_meta']
        assert meta['names'] == ['nose', 'eye']
        # Anyone can read it: it names no class of this package.
        assert b'pose_backbones' not in target.read_bytes()
        assert meta['sigmas'].tolist() == [0, 1, 2]
        assert {key: content['meta'][key] for key in account} == account
    else:
        with safe_open(target, 'pt') as file:
            assert file.metadata() == {'format': 'pt', **account}


def test_safetensors_in_and_out(released, tmp_path):
    path, weights = released
    first, second = tmp_path / 'a.safetensors', tmp_path / 'b.pth'
    api.convert_checkpoint(str(path), str(first))
    done = api.convert_checkpoint(str(first), str(second))
    assert (done.naming, done.entries) == ('MMPose 1.x', ())
    assert same(get_weights(read_checkpoint(str(second))), convert_state_dict(weights))


def uniformer_scaled():
    net = UniFormer('small', layer_scale_init_value=(None, None, 1.0, 1.0))
    weights = {
        name: value for name, value in net.state_dict().items() if not name.startswith('norm')
    }
    return {**weights, 'norm.weight': torch.ones(512), 'head.weight': torch.ones(10, 512)}


def convnext_atto():
    weights = ConvNeXt('v2-atto').state_dict()
    return {name: value for name, value in weights.items() if not name.startswith('norm')}


def swin_small():
    from mmpose.models.backbones import SwinTransformer

    net = SwinTransformer(
        embed_dims=8,
        depths=(1, 2),
        num_heads=(1, 2),
        window_size=4,
        strides=(4, 2),
        out_indices=(1,),
    )
    return old_release(
        net,
        heatmap_head(
            16,
            conv_out_channels=(6,),
            conv_kernel_sizes=(3,),
            final_layer=dict(kernel_size=3, padding=1),
        ),
    )


def without_deconvolution():
    return old_release(
        MogaNet('x-tiny'), heatmap_head(192, deconv_out_channels=None, deconv_kernel_sizes=None)
    )


@pytest.mark.parametrize(
    ('make', 'added'),
    [(uniformer_scaled, 8), (convnext_atto, 0), (swin_small, 0), (without_deconvolution, 0)],
)
def test_models_are_made_after_the_weights(tmp_path, make, added):
    weights = make()
    torch.save({'model': weights}, tmp_path / 'net.pth')
    done = api.convert_checkpoint(str(tmp_path / 'net.pth'), str(tmp_path / 'new.pth'))
    assert len(done.added) == added
    assert same(
        get_weights(read_checkpoint(str(tmp_path / 'new.pth'))), convert_state_dict(weights)
    )


def test_what_is_left_out_and_added_is_printed(tmp_path, capsys):
    torch.save(
        {'model': uniformer_scaled(), 'model_ema': {'norm.weight': torch.ones(1)}},
        tmp_path / 'net.pth',
    )
    api.main([str(tmp_path / 'net.pth'), str(tmp_path / 'new.pth')])
    printed = capsys.readouterr().out
    for line in (
        'net.pth: UniFormer, ImageNet release, from its entry model',
        '  other entries: model_ema (see --key)',
        '  left out: head.weight (of the classifier)',
        '  added: backbone.norm1.weight',
    ):
        assert line in printed


def test_another_entry(tmp_path):
    torch.manual_seed(0)
    one, two = MogaNet('x-tiny').state_dict(), MogaNet('x-tiny').state_dict()
    torch.save({'state_dict': one, 'state_dict_ema': two}, tmp_path / 'net.pth')
    api.main([str(tmp_path / 'net.pth'), str(tmp_path / 'new.pth'), '--key', 'state_dict_ema'])
    weights = read_checkpoint(str(tmp_path / 'new.pth'))['state_dict']
    name = 'patch_embed1.projection.0.weight'
    assert torch.equal(weights[f'backbone.{name}'], two[name])
    assert not torch.equal(one[name], two[name])


@pytest.fixture
def tiny(tiny_config):
    """The model of the tiny config."""
    from mmengine.config import Config
    from mmpose.registry import MODELS
    from mmpose.utils import register_all_modules

    register_all_modules()
    torch.manual_seed(0)
    return MODELS.build(Config.fromfile(str(tiny_config)).model)


def rename_head(weights):
    """Today's weights of the tiny model under the names of MMPose 0.x."""
    old = {}
    for name, value in weights.items():
        name = name.replace('head.conv_layers.', 'head.final_layer.')
        if name.startswith('head.final_layer.') and name.count('.') == 2:
            name = name.replace('final_layer', 'final_layer.3')
        old[name.replace('head.', 'keypoint_head.', 1) if name.startswith('head.') else name] = (
            value
        )
    return old


def test_a_config_verifies_another_size(tiny_config, tiny, tmp_path):
    """Of a custom architecture the tool cannot make a model by itself."""
    old = rename_head(tiny.state_dict())
    assert 'keypoint_head.final_layer.3.weight' in old
    source, target = str(tmp_path / 'old.pth'), str(tmp_path / 'new.pth')
    torch.save({'state_dict': old}, source)
    with pytest.raises(
        CheckpointError,
        match=('was recognised, but its size is none of x-tiny, .*: give the --config'),
    ):
        api.convert_checkpoint(source, target)
    assert not Path(target).exists()
    api.convert_checkpoint(source, target, config=str(tiny_config))
    assert same(read_checkpoint(target)['state_dict'], tiny.state_dict())

    backbone = {name: value for name, value in old.items() if name.startswith('backbone.')}
    torch.save(backbone, source)
    api.convert_checkpoint(source, target, str(tiny_config), overwrite=True)
    assert read_checkpoint(target)['state_dict'].keys() == backbone.keys()


def test_a_released_file_in_the_test_tool(tiny_config, tiny, synthetic, tmp_path):
    """The same metrics as from today's names, without any conversion."""
    metrics = []
    for name, weights in (('new', tiny.state_dict()), ('old', rename_head(tiny.state_dict()))):
        path, out = tmp_path / f'{name}.pth', tmp_path / f'{name}.json'
        torch.save({'state_dict': weights}, path)
        test_api.main(
            [
                str(a)
                for a in (
                    tiny_config,
                    path,
                    '--data-root',
                    synthetic,
                    '--work-dir',
                    tmp_path / name,
                    '--out',
                    out,
                )
            ]
        )
        metrics.append(json.loads(out.read_text()))
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        (
            {'backbone.model.conv1.weight': torch.ones(1)},
            'it is of a timm model: give the --config',
        ),
        (
            {
                **{f'backbone.{k}': v for k, v in convnext_atto().items()},
                'head.cls_x.weight': torch.ones(1),
            },
            'its head is no HeatmapHead',
        ),
        (
            {
                **{f'backbone.{k}': v for k, v in convnext_atto().items()},
                'neck.conv.weight': torch.ones(1),
            },
            'it has a neck',
        ),
    ],
)
def test_models_that_need_a_config(tmp_path, weights, message):
    torch.save(weights, tmp_path / 'net.pth')
    with pytest.raises(CheckpointError, match=message):
        api.convert_checkpoint(str(tmp_path / 'net.pth'), str(tmp_path / 'new.pth'))
    assert [file.name for file in tmp_path.iterdir()] == ['net.pth']


def test_a_file_that_does_not_fit_is_not_written(tmp_path):
    weights = convnext_atto()
    weights['stages.0.blocks.0.norm.bias'] = torch.ones(3)
    source, target = tmp_path / 'net.pth', tmp_path / 'new.pth'
    torch.save(weights, source)
    target.write_text('before')
    with pytest.raises(CheckpointError, match=r'\(3,\) in the file and \(40'):
        api.convert_checkpoint(str(source), str(target), overwrite=True)
    assert target.read_text() == 'before'
    assert len(list(tmp_path.iterdir())) == 2


def test_an_existing_file_is_kept(released, tmp_path):
    path, _ = released
    target = tmp_path / 'new.pth'
    target.write_text('before')
    with pytest.raises(WorkDirError, match=(r'new\.pth exists: --overwrite replaces it')):
        api.main([str(path), str(target)])
    assert target.read_text() == 'before'
    api.main([str(path), str(target), '--overwrite'])
    assert read_checkpoint(str(target))['meta']['family'] == 'MogaNet'


@pytest.mark.parametrize(
    ('target', 'error', 'message'),
    [
        (
            'new.bin',
            ConfigError,
            r'DST .*new\.bin: expected a file name that ends '
            r'with \.pth or \.safetensors',
        ),
        (
            'net.pth/new.pth',
            WorkDirError,
            r'new\.pth cannot be written: .*net\.pth is not a directory',
        ),
    ],
)
def test_names_that_cannot_be_written(released, tmp_path, target, error, message):
    path, _ = released
    path.rename(tmp_path / 'net.pth')
    with pytest.raises(error, match=message):
        api.main([str(tmp_path / 'net.pth'), str(tmp_path / target)])


def test_an_unknown_release(tmp_path):
    torch.save({'state_dict': {'conv1.weight': torch.ones(1)}}, tmp_path / 'net.pth')
    with pytest.raises(
        CheckpointError, match=(r'unknown release: .*Not recognised: conv1\.weight')
    ):
        api.main([str(tmp_path / 'net.pth'), str(tmp_path / 'new.pth')])


@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
def test_a_full_disk_leaves_what_was_there(released, tmp_path, ending):
    """A real one, which has room for a part of the weights."""
    path, _ = released
    with small_disk(tmp_path / 'disk', '64k') as disk:
        target = disk / f'new{ending}'
        target.write_text('before')
        assert path.stat().st_size > 100_000
        with pytest.raises(
            WorkDirError, match=(rf'DST .*new\{ending} cannot be written: .*No space left')
        ):
            api.main([str(path), str(target), '--overwrite'])
        assert [file.name for file in disk.iterdir()] == [target.name]
        assert target.read_text() == 'before'


def test_the_source_is_never_replaced(released, tmp_path):
    path, _ = released
    before = path.read_bytes()
    (tmp_path / 'soft.pth').symlink_to(path)
    os.link(path, tmp_path / 'hard.pth')
    for target in (
        path,
        tmp_path / 'soft.pth',
        tmp_path / 'hard.pth',
        tmp_path / f'x/../{path.name}',
    ):
        (tmp_path / 'x').mkdir(exist_ok=True)
        with pytest.raises(WorkDirError, match='is an input of this command'):
            api.main([str(path), str(target), '--overwrite'])
    assert path.read_bytes() == before
