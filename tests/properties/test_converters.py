"""Conversion of parameter names: a bijection for every release, whatever the file looks like."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmpose.utils import register_all_modules
from torch import Tensor

from pose_backbones.checkpoints.conversion import Conversion, inspect_state_dict
from pose_backbones.checkpoints.loading import WEIGHT_KEYS
from pose_backbones.models.backbones import MogaNet
from pose_backbones.registry import MODELS
from tests.helpers import golden_values
from tests.helpers.mspn_names import to_original
from tests.helpers.releases import (
    DEPTHS,
    DIMS,
    convnext_backbone,
    convnext_fcmae,
    old_head,
    original_swin,
    uniformer_imagenet,
    with_prefix,
)
from tests.properties.strategies import seeds, share

register_all_modules()
MOGANET = dict(embed_dims=DIMS, depths=DEPTHS, ffn_ratios=(2, 2, 2, 2))


def _mspn(stages: int) -> dict[str, Tensor]:
    """Return a small MSPN estimator with the names of the original."""
    part = dict(stages=stages, unit_channels=8)
    backbone = dict(type='pose_backbones.MSPN', num_blocks=(1, 2, 1, 1), base_channels=8, **part)
    head = dict(type='pose_backbones.MSPNHead', out_shape=(16, 12), **part)
    model = MODELS.build(dict(type='pose_backbones.MSPNEstimator', backbone=backbone, head=head))
    return to_original(model.state_dict())


def _hrcomer() -> dict[str, Tensor]:
    """Return the base model of HRCoMer, whose tensors take no memory."""
    shapes = dict(golden_values.load('hrcomer_base_coco')['state'])
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


#: release → its weights
RELEASES: dict[str, Callable[[], dict[str, Tensor]]] = {
    'moganet': lambda: MogaNet(MOGANET).state_dict(),
    'moganet 0.x': lambda: {
        **with_prefix('backbone', MogaNet(MOGANET).state_dict()),
        **old_head(32, 2),
    },
    'uniformer': uniformer_imagenet,
    'uniformer tokens': lambda: uniformer_imagenet(True, True),
    'uniformer stem': lambda: uniformer_imagenet(True, True, conv_stem=True),
    **{
        f'convnext{" v2" if v2 else ""} {naming}': lambda naming=naming, v2=v2: convnext_backbone(
            naming, v2
        )
        for naming in ('original', 'mmpretrain', 'timm')
        for v2 in (False, True)
    },
    'convnext dense': lambda: convnext_fcmae()[0],
    'convnext sparse': lambda: convnext_fcmae()[1],
    'swin': lambda: original_swin()[1],
    'swin timm': lambda: original_swin()[0].state_dict(),
    'mspn 1': lambda: _mspn(1),
    'mspn 2': lambda: _mspn(2),
    'hrcomer': _hrcomer,
}


@cache
def release(name: str) -> dict[str, Tensor]:
    """Return the weights of a release, in which all numbers are different."""
    weights, start = {}, 1
    for key, value in RELEASES[name]().items():
        if name == 'hrcomer':
            weights[key] = torch.tensor(float(start)).expand(value.shape)
            start += 1
            continue
        weights[key] = torch.arange(start, start + value.numel()).double().view(value.shape)
        start += value.numel()
    return weights


@cache
def converted(name: str) -> Conversion:
    return inspect_state_dict(dict(release(name)))


def smallest(value: Tensor) -> float:
    """Return the smallest number of a tensor, which identifies its source."""
    return float(value.min()) if value.stride() != (0,) * value.ndim else float(value.flatten()[0])


@pytest.mark.parametrize('name', RELEASES)
def test_conversion_is_a_bijection(name):
    """Every name gets one name, no two get the same, and the numbers stay, in the same amount.

    Back: each converted tensor is that of one name of the file, the one with its numbers.
    """
    weights, done = release(name), converted(name)
    sources = {smallest(value): key for key, value in weights.items()}
    assert len(sources) == len(weights)
    kept = [key for key in done.weights if key not in done.added]
    back = {key: sources[smallest(done.weights[key])] for key in kept}
    assert len(set(back.values())) == len(back)
    assert set(back.values()) | set(done.left_out) == set(weights)
    assert not set(back.values()) & set(done.left_out)
    for key, source in back.items():
        value, original = done.weights[key], weights[source]
        assert value.numel() == original.numel()
        assert value.dtype == original.dtype
        if name != 'hrcomer':
            torch.testing.assert_close(
                value.flatten().sort()[0], original.flatten().sort()[0], rtol=0, atol=0
            )


@pytest.mark.parametrize('name', RELEASES)
@given(
    seed=seeds,
    trainer=st.booleans(),
    key=st.sampled_from([None, *WEIGHT_KEYS]),
    prefixed=st.booleans(),
)
@share(0.15)
def test_conversion_does_not_depend_on_the_file(name, seed, trainer, key, prefixed):
    """The result depends neither on the order of the names, nor on the entry, nor on prefixes."""
    weights = release(name)
    order = np.random.default_rng(seed).permutation(len(weights))
    names = list(weights)
    content = {names[index]: weights[names[index]] for index in order}
    is_whole = name.startswith(('mspn', 'hrcomer')) or any('head' in key for key in names)
    if prefixed and not is_whole and not any(key.startswith('backbone.') for key in names):
        content = with_prefix('backbone', content)
    if trainer:
        content = with_prefix('model', content)
    done = inspect_state_dict({'epoch': 3, key: content} if key else content)
    expected = converted(name)
    assert done.weights.keys() == expected.weights.keys()
    assert done.family == expected.family
    assert set(done.added) == set(expected.added)
    for new, value in expected.weights.items():
        assert done.weights[new].shape == value.shape
        assert torch.equal(done.weights[new], value), new


@pytest.mark.parametrize('name', RELEASES)
def test_converted_weights_are_unchanged_by_another_conversion(name):
    done = inspect_state_dict(dict(converted(name).weights))
    assert (done.left_out, done.added) == ({}, ())
    assert done.weights.keys() == converted(name).weights.keys()
    for key, value in converted(name).weights.items():
        assert torch.equal(done.weights[key], value)


@pytest.mark.parametrize(
    'name', [name for name in RELEASES if not name.startswith(('swin', 'hrcomer', 'moganet 0'))]
)
@given(seed=seeds, portion=st.floats(0.05, 0.95))
@share(0.15)
def test_names_are_converted_one_by_one(name, seed, portion):
    """A weight gets the same name, shape and values if some of the other weights are missing.

    For Swin and the heads of MMPose 0.x, a name depends on the number of layers.
    """
    expected, weights = converted(name).weights, release(name)
    rng = np.random.default_rng(seed)
    needed = [key for key in weights if is_signature(key)]
    content = {
        key: value for key, value in weights.items() if key in needed or rng.random() < portion
    }
    done = inspect_state_dict(content)
    assert set(done.weights) <= set(expected)
    sources = {smallest(value) for value in content.values()}
    for key, value in expected.items():
        if smallest(value) in sources and key not in done.added:
            assert torch.equal(done.weights[key], value), key


def is_signature(name: str) -> bool:
    """Return whether the family or the naming is recognized by a name."""
    parts = ('DW_conv0', 'pos_embed', 'dwconv', 'depthwise_conv', 'conv_dw', 'skip.conv')
    return any(part in name for part in parts) or name.endswith(
        ('norm2.weight', 'conv.weight', 'conv.bias', 'norm1.weight')
    )
