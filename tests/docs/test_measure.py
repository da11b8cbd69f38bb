"""Tests of measured parameters and FLOPs against the metafiles and the sources."""

import io

import pytest
import torch
from mmpose.utils import register_all_modules
from ruamel.yaml import YAML

from model_zoo.measure import Size, measure_config, measure_families, update
from pose_backbones.cli import flops
from pose_backbones.zoo import get_config, read_families, read_models
from tests.helpers.tools import ROOT

MODELS = read_models()


@pytest.fixture(autouse=True, scope='module')
def _host():
    register_all_modules()


def agrees(measured: float, printed: str) -> bool:
    """Return whether a value is within 2 % of that of the source, or equal after rounding."""
    figure = float(printed[:-1])
    digits = len(printed[:-1].partition('.')[2])
    return measured == pytest.approx(figure, rel=0.02) or round(measured, digits) == figure


@pytest.mark.parametrize('name', MODELS)
def test_metafile_equals_measurement(name):
    """Measure every model at full size; values of the sources agree or have an explanation."""
    model = MODELS[name]
    size = measure_config(get_config(name))
    assert size == Size(model.params, model.flops, model.attention_flops)
    counted = size.flops
    if model.upstream.get('FLOPs Count') == 'layers and attention':
        counted += size.attention_flops
    same = all(
        agrees(figure, model.upstream[key])
        for key, figure in (('Params', size.params / 1e6), ('FLOPs', counted / 1e9))
        if key in model.upstream
    )
    assert same == (not model.explanation)


def test_explanations_of_differences():
    """Swin-B with windows of 7; the misprint is UniFormer-S at 448x320."""
    config = get_config('td-hm_swin-b-p4-w12_8xb32-210e_coco-384x288')
    config.model.backbone.window_size = 7
    size = measure_config(config)
    assert round(size.params / 1e6, 1) == 93.0
    assert round(size.flops / 1e9, 1) == 40.1
    small = MODELS['td-hm_uniformer-s_8xb64-210e_coco-448x320']
    base = MODELS['td-hm_uniformer-b_8xb32-210e_coco-384x288']
    assert f'{small.total_flops / 1e9:.1f}G' == base.upstream['FLOPs']


SMALL = {
    'td-hm_uniformer-s_8xb128-210e_coco-256x192': dict(
        arch=dict(embed_dims=(8, 8, 64, 128), depths=(1, 1, 2, 1), conv_stem=False)
    ),
    'td-hm_swin-t-p4-w7_8xb32-210e_coco-256x192': dict(
        embed_dims=16, depths=(1, 1, 1, 2), num_heads=(1, 2, 4, 8)
    ),
}


@pytest.mark.parametrize('name', SMALL)
def test_meta_device_equals_real_tensors(name):
    """Real tensors give the same FLOPs and parameters as meta tensors."""
    config = get_config(name)
    config.model.backbone.update(SMALL[name], init_cfg=None)
    config.model.head.update(in_channels=128, deconv_out_channels=(8,), deconv_kernel_sizes=(4,))
    real = flops.measure(config, flops.input_shape(config))
    size = measure_config(config)
    assert (size.flops, size.params) == real
    assert not torch.zeros(1).is_meta


def test_attention_flops():
    """N tokens of C channels: N·N·C for the attention weights and N·N·C for the weighted sum."""
    name = 'td-hm_uniformer-s_8xb128-210e_coco-256x192'
    config = get_config(name)
    config.model.backbone.update(SMALL[name])
    config.model.head.in_channels = 128
    cells = 16 * 12, 8 * 6
    assert measure_config(config).attention_flops == (
        2 * 2 * cells[0] ** 2 * 64 + 2 * cells[1] ** 2 * 128
    )


@pytest.mark.parametrize(
    ('text', 'size', 'expected'),
    [
        (
            'A: x\nParameters: 1\nFLOPs: 2\nB: y # why\n',
            Size(10, 20, 30),
            'A: x\nParameters: 10\nFLOPs: 20\nAttention FLOPs: 30\nB: y # why\n',
        ),
        (
            'A: x\nParameters: 3\nFLOPs: 4\nAttention FLOPs: 5\nB: y\n',
            Size(30, 40, 0),
            'A: x\nParameters: 30\nFLOPs: 40\nB: y\n',
        ),
        ('A: x\n', Size(1, 2, 0), 'Parameters: 1\nFLOPs: 2\nA: x\n'),
    ],
)
def test_update_replaces_only_the_measured_values(text, size, expected):
    metadata = YAML().load(text)
    assert update(metadata, size)
    out = io.StringIO()
    YAML().dump(metadata, out)
    assert out.getvalue() == expected
    assert not update(metadata, size)


def test_wrong_value_is_replaced(tmp_path):
    name = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'
    family = read_families()[0]
    path = tmp_path / 'metafile.yml'
    text = (ROOT / 'configs/moganet/metafile.yml').read_text()
    model = MODELS[name]
    before, start, after = text.partition(f'- Name: {name}\n')
    after = after.replace(f'Parameters: {model.params}\n', 'Parameters: 7\n', 1)
    path.write_text(before + start + after)
    assert path.read_text() != text
    one = type(family)('moganet', path, (), (model,))
    assert measure_families([one]) == [
        f'{name}: Parameters {model.params:,}, FLOPs {model.flops:,}'
    ]
    assert path.read_text() == text
    assert measure_families([one]) == []
