"""Tests of TimmBackbone: inspection of models, options, timm's weights and errors.

What it shares with every backbone is in test_contract.py.
"""

import pytest
import timm
import torch
from torch import nn

from pose_backbones.errors import CheckpointError
from pose_backbones.models.backbones import TimmBackbone, timm_features
from pose_backbones.models.backbones.timm_features import TimmModel

CONV = dict(model_name='resnet10t')
#: four blocks of patches of 16
VIT = dict(
    model_name='vit_tiny_patch16_224',
    img_size=(64, 48),
    model_args=dict(depth=4, embed_dim=48, num_heads=2),
)
SWIN = dict(
    model_name='swin_tiny_patch4_window7_224',
    img_size=(64, 96),
    model_args=dict(window_size=4, embed_dim=24, depths=(1, 1, 1, 1)),
)


def random_net(settings=CONV, seed=0, **kwargs) -> TimmBackbone:
    """Build a backbone in which no branch is disabled, as timm initializes some."""
    torch.manual_seed(seed)
    net = TimmBackbone(**{**settings, **kwargs})
    for value in net.parameters():
        if value.ndim == 1:
            value.data.uniform_(0.3, 0.6)
    return net


@pytest.mark.parametrize(
    ('name', 'size', 'arguments'),
    [
        ('resnet10t', (64, 96), {}),
        ('hrnet_w18_small', (64, 96), {}),
        ('efficientvit_b0', (64, 96), {}),
        ('mobilenetv4_conv_small', (64, 96), {}),
        ('convnextv2_atto', (64, 96), {}),
        (VIT['model_name'], VIT['img_size'], VIT['model_args']),
        (SWIN['model_name'], SWIN['img_size'], SWIN['model_args']),
    ],
)
def test_maps_match_timm(name, size, arguments):
    """The maps also have the channels and strides that are read from the model."""
    img_size = size if arguments else None
    net = TimmBackbone(name, img_size=img_size, model_args=arguments).eval()
    given = dict(arguments, img_size=size) if arguments else {}
    count = net.num_stages
    timm_model = timm.create_model(
        name, features_only=True, out_indices=tuple(range(count)), **given
    )
    net.model.load_state_dict(timm_model.eval().state_dict())
    image = torch.randn(1, 3, *size)
    with torch.no_grad():
        expected, net_maps = timm_model(image), net(image)
    assert len(net_maps) == len(expected) == count == len(net.embed_dims)
    assert list(net.strides) == timm_model.feature_info.reduction()
    for first_map, second_map, width, stride in zip(
        net_maps, expected, net.embed_dims, net.strides
    ):
        if second_map.shape[1:3] == (size[0] // stride, size[1] // stride):
            second_map = second_map.permute(0, 3, 1, 2)
            assert name == SWIN['model_name']
        assert first_map.shape == (1, width, size[0] // stride, size[1] // stride)
        assert torch.equal(first_map, second_map)


@pytest.mark.parametrize(
    ('name', 'size', 'strides'),
    [
        ('tresnet_m', (64, 96), (4, 4, 8, 16, 32)),
        ('mvitv2_tiny', (224, 224), (4, 8, 16, 32)),
        ('crossvit_9_240', (240, 240), (12, 12, 12, 17, 17, 17)),
        ('inception_v3', (192, 160), (2, 4, 8, 16, 32)),
        ('pnasnet5large', (64, 96), (2, 4, 8, 16, 32)),
    ],
)
def test_maps_match_forward_intermediates(name, size, strides):
    """The weights of timm's classifier load into the backbone."""
    net, classifier = TimmBackbone(name).eval(), timm.create_model(name).eval()
    net.load_state_dict(classifier.state_dict())
    image = torch.randn(1, 3, *size)
    with torch.no_grad():
        expected = classifier.forward_intermediates(image, intermediates_only=True)
        net_maps = net(image)
    assert net.strides == strides
    assert net.embed_dims == tuple(x.shape[1] for x in expected)
    torch.testing.assert_close(list(net_maps), expected)


@pytest.mark.parametrize('name', ['mvitv2_tiny', 'crossvit_9_240'])
def test_models_of_fixed_size_raise_for_images_of_other_sizes(name):
    net = TimmBackbone(name)
    height, width = net._source.size
    with pytest.raises(ValueError, match='does not support this size .*would be wrong'):
        net(torch.zeros(1, 3, height + 32, width))


def test_model_name_with_tag_of_weights():
    net = TimmBackbone('resnet10t.c3_in1k')
    assert net.embed_dims == TimmBackbone('resnet10t').embed_dims


@pytest.mark.parametrize(
    ('indices', 'chosen'), [((0,), (0,)), ((-1,), (4,)), ((1, -2), (1, 3)), (None, (0, 1, 2, 3, 4))]
)
def test_out_indices(indices, chosen):
    net = random_net(out_indices=indices).eval()
    every = random_net().eval()
    state = net.state_dict()
    net.load_state_dict(
        {name: value for name, value in every.state_dict().items() if name in state}
    )
    assert net.out_indices == chosen
    image = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        net_maps, expected = net(image), every(image)
    assert len(net_maps) == len(chosen)
    for index, first_map in zip(chosen, net_maps):
        assert torch.equal(first_map, expected[index])


def _train_a_step(net, image):
    """Return the names of the parameters and buffers that a training step changes."""
    before = {k: v.clone() for k, v in net.state_dict().items()}
    loss = sum(feature_map.square().mean() for feature_map in net.train()(image))
    loss.backward()
    for value in net.parameters():
        if value.grad is not None:
            value.data += 1e-3 * value.grad.sign() + 1e-4
    return {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}


@pytest.mark.parametrize('frozen', [-1, 0, 2])
@pytest.mark.parametrize('settings', [CONV, VIT, SWIN])
def test_frozen_stages_include_all_their_maps_depend_on(settings, frozen):
    """A training step does not change the maps of frozen stages, but the next maps."""
    net = random_net(settings, frozen_stages=frozen)
    image = torch.randn(4, 3, *settings.get('img_size', (64, 64)))
    with torch.no_grad():
        before = net.eval()(image)
    changed = _train_a_step(net, image)
    with torch.no_grad():
        after = net.eval()(image)
    unchanged = [torch.equal(first_map, second_map) for first_map, second_map in zip(before, after)]
    assert unchanged == [index <= frozen for index in range(net.num_stages)]
    trained = {k for k, v in net.named_parameters() if v.requires_grad}
    assert trained == {k for k, _ in net.named_parameters()} & changed


def test_position_embeddings_are_frozen_with_the_first_stage():
    net = random_net(VIT, frozen_stages=0)
    frozen = {
        k.split('model.')[-1].split('.')[0]
        for k, v in net.named_parameters()
        if not v.requires_grad
    }
    assert frozen == {'cls_token', 'pos_embed', 'patch_embed', 'blocks'}
    net.train()
    assert [b.training for b in net.model.model.blocks] == [False, True, True, True]


def test_later_maps_of_hrnet_depend_on_the_whole_network():
    net = TimmBackbone('hrnet_w18_small', out_indices=(1,), frozen_stages=0)
    trained = {k for k, v in net.named_parameters() if v.requires_grad}
    assert not any(name.startswith('model.conv1.') for name in trained)
    assert any(name.startswith('model.stage4.') for name in trained)
    # Parameters that only the other maps depend on are not trained.
    assert not any('incre_modules.1' in name for name in trained)
    sum(feature_map.mean() for feature_map in net(torch.randn(2, 3, 64, 64))).backward()
    assert {k for k, v in net.named_parameters() if v.grad is not None} == trained
    net = TimmBackbone('hrnet_w18_small', out_indices=(1,), frozen_stages=1)
    assert not any(v.requires_grad for v in net.parameters())


@pytest.mark.parametrize('norm_eval', [False, True])
def test_norm_eval_keeps_the_statistics(norm_eval):
    net = random_net(norm_eval=norm_eval).train()
    before = {k: v.clone() for k, v in net.named_buffers() if 'running' in k}
    net(torch.randn(2, 3, 64, 64) + 3)
    buffers = dict(net.named_buffers())
    unchanged = [torch.equal(buffers[k], v) for k, v in before.items()]
    assert len(unchanged) > 10
    assert all(unchanged) if norm_eval else not any(unchanged)


def test_checkpointed_batches_count_once_in_statistics():
    """Also if the batch norms are replaced by synchronized ones."""
    image = torch.randn(4, 3, 64, 64) + 1
    results = []
    for with_cp in (False, True):
        net = random_net(with_cp=with_cp).train()
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net).train()
        assert net.with_cp == with_cp
        for _ in range(2):
            sum(feature_map.square().mean() for feature_map in net(image)).backward()
        results.append(
            {
                **dict(net.named_buffers()),
                **{f'{k}.grad': v.grad for k, v in net.named_parameters()},
            }
        )
    counts = [v.item() for k, v in results[1].items() if 'batches' in k]
    assert counts
    assert set(counts) == {2}
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, msg=name)


def test_drop_path_rate_is_passed_to_timm():
    def rates(**kwargs):
        net = TimmBackbone(**SWIN, **kwargs)
        return [m.drop_prob for m in net.modules() if hasattr(m, 'drop_prob')]

    assert rates(drop_path_rate=0.3)[-1] == pytest.approx(0.3)
    assert rates()[-1] == pytest.approx(0.1)  # timm's default for Swin
    assert not any(rates(drop_path_rate=0.0))


def test_init_weights_loads_pretrained_weights(tmp_path):
    """The weights are in a local file; timm adapts them to four channels."""
    torch.manual_seed(3)
    source = timm.create_model('resnet10t', num_classes=5)
    torch.save(source.state_dict(), tmp_path / 'timm.pth')
    overlay = dict(file=str(tmp_path / 'timm.pth'), num_classes=5)
    net = TimmBackbone(
        'resnet10t',
        pretrained=True,
        in_channels=4,
        out_indices=(2,),
        model_args=dict(pretrained_cfg_overlay=overlay),
    )
    state, timm_state = net.model.state_dict(), source.state_dict()
    assert not torch.equal(state['layer2.0.conv1.weight'], timm_state['layer2.0.conv1.weight'])
    net.init_weights()
    first = 'conv1.0.weight'
    assert state[first].shape[1] == 4
    shared = [k for k in state if k in timm_state and k != first]
    assert len(shared) > 20
    assert all(torch.equal(state[k], timm_state[k]) for k in shared)
    loaded = state['layer2.0.conv1.weight']
    loaded.zero_()
    net.init_weights()  # has no effect the second time
    assert not loaded.any()


def test_pretrained_resizes_position_embeddings(tmp_path):
    arguments = VIT['model_args']
    source = timm.create_model(VIT['model_name'], img_size=(64, 64), num_classes=0, **arguments)
    source.pos_embed.data.fill_(0.7)
    torch.save(source.state_dict(), tmp_path / 'vit.pth')
    net = TimmBackbone(
        VIT['model_name'],
        pretrained=True,
        img_size=(96, 64),
        model_args=dict(
            arguments, pretrained_cfg_overlay=dict(file=str(tmp_path / 'vit.pth'), num_classes=0)
        ),
    )
    net.init_weights()
    inner = net.model.model
    assert inner.pos_embed.shape == (1, 1 + 6 * 4, 48)
    torch.testing.assert_close(inner.pos_embed, torch.full_like(inner.pos_embed, 0.7))
    assert torch.equal(inner.blocks[3].attn.qkv.weight, source.blocks[3].attn.qkv.weight)


def test_pretrained_without_network_raises_with_advice(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    net = TimmBackbone('resnet10t.c3_in1k', pretrained=True)
    with pytest.raises(
        CheckpointError,
        match=(
            r"timm's resnet10t\.c3_in1k cannot be loaded .*Without a network.*"
            r'pretrained_cfg_overlay=dict\(file=PATH\).*pretrained=False'
        ),
    ):
        net.init_weights()


def test_init_cfg_loads_own_checkpoints(tmp_path):
    source = random_net(seed=1)
    torch.save(
        {'state_dict': {f'backbone.{k}': v for k, v in source.state_dict().items()}},
        tmp_path / 'ours.pth',
    )
    net = random_net(
        seed=2, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'ours.pth'))
    )
    net.init_weights()
    for name, value in source.state_dict().items():
        assert torch.equal(net.state_dict()[name], value)
    other_net = TimmBackbone('resnet18', init_cfg=net.init_cfg)
    with pytest.raises(CheckpointError, match='not a checkpoint of this'):
        other_net.init_weights()


@pytest.mark.parametrize(
    ('settings', 'renamed', 'left_out'),
    [
        (CONV, {}, {'fc'}),
        (
            SWIN,
            {'layers.1.blocks.0.mlp.fc1.weight': 'layers_1.blocks.0.mlp.fc1.weight'},
            {'layers', 'norm', 'head'},
        ),
        (VIT, {'pos_embed': 'model.pos_embed'}, {'blocks', 'norm', 'head'}),
    ],
)
def test_timm_classifier_weights_load_strictly(tmp_path, settings, renamed, left_out):
    """The classifier can have any number of classes, and every loader is supported."""
    out_indices = None if settings is CONV else (0, 2)
    torch.manual_seed(6)
    given = dict(settings.get('model_args', {}))
    if 'img_size' in settings:
        given['img_size'] = settings['img_size']
    source = timm.create_model(settings['model_name'], num_classes=7, **given).state_dict()
    path = str(tmp_path / 'timm.pth')
    torch.save(source, path)
    net = random_net(
        settings, out_indices=out_indices, init_cfg=dict(type='Pretrained', checkpoint=path)
    )
    net.init_weights()
    other_net = random_net(settings, out_indices=out_indices, seed=1)
    other_net.load_state_dict(source, strict=True)
    state = net.model.state_dict()
    for name, value in state.items():
        place = name.removeprefix('model.').replace('_', '.')
        matching_keys = [key for key in source if key.replace('_', '.') == place]
        assert len(matching_keys) == 1, name
        assert torch.equal(value, source[matching_keys[0]]), name
        assert torch.equal(other_net.model.state_dict()[name], value), name
    for name, place in renamed.items():
        assert torch.equal(state[place], source[name])
    used = net.convert_names(source)
    assert {
        name.split('.')[0]
        for name, value in source.items()
        if not any(value is used_value for used_value in used.values())
    } == left_out


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (
            lambda w: w.pop('layer3.0.conv2.weight'),
            r'1 missing key: model\.layer3\.0\.conv2\.weight',
        ),
        (
            lambda w: w.update({'layer3.0.new': torch.ones(1)}),
            r'1 unexpected key: layer3\.0\.new\. .*If they are weights of '
            r'resnet10t that timm must adapt .*backbone\.pretrained=True and '
            r'backbone\.model_args=dict\(pretrained_cfg_overlay=dict\(file=PATH',
        ),
        (
            lambda w: w.update({'conv1.0.weight': torch.ones(24, 1, 3, 3)}),
            r'1 key with a mismatched shape: .*that timm must adapt',
        ),
    ],
)
def test_mismatched_timm_weights_raise(tmp_path, damage, message):
    weights = timm.create_model('resnet10t').state_dict()
    damage(weights)
    torch.save(weights, tmp_path / 'timm.pth')
    net = TimmBackbone(
        'resnet10t', init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'timm.pth'))
    )
    with pytest.raises(CheckpointError, match=message) as caught:
        net.init_weights()
    adapts = 'timm has to adapt' in message
    assert ('timm has to adapt' in str(caught.value)) == adapts


def test_models_that_need_values_are_inspected_on_the_cpu():
    devices = []

    def measure(model):
        device = torch.zeros(1).device.type
        devices.append(device)
        if device == 'meta':
            torch.zeros(1).item()
        return model

    assert timm_features._without_values(measure, 'a model') == 'a model'
    assert devices == ['meta', 'cpu']


def test_inspection_does_not_change_random_state():
    """Only the initialization of the weights uses random numbers."""
    torch.manual_seed(5)
    TimmModel('resnet10t', 3, None, {}).create(range(5))
    expected = torch.rand(3)
    torch.manual_seed(5)
    with torch.no_grad():
        net = TimmBackbone('resnet10t')
    assert torch.equal(torch.rand(3), expected)
    assert all(p.requires_grad for p in net.parameters())


def test_unsupported_image_size_raises():
    net = random_net(VIT).eval()
    with pytest.raises(
        ValueError,
        match=(
            r"the image is 48x64 \(height x width\), but timm's vit_tiny_"
            r"patch16_224, built for 64x48, does not support .*doesn't match"
        ),
    ):
        net(torch.randn(1, 3, 48, 64))
    net = random_net(VIT, model_args=dict(VIT['model_args'], dynamic_img_size=True)).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 3, 96, 32))[0].shape == (1, 48, 6, 2)
    with pytest.raises(ValueError, match='is 90x32 .*divisible'):
        net(torch.randn(1, 3, 90, 32))


def test_other_forward_errors_are_not_reported_as_image_size():
    net = random_net().eval()
    with pytest.raises(RuntimeError, match='channels'):
        net(torch.randn(1, 4, 64, 64))


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (
            dict(model_name='hrnet_w33'),
            ValueError,
            r"no model 'hrnet_w33' .*did you mean hrnet_w32",
        ),
        (
            dict(model_name='resnet10t.c4_in1k'),
            ValueError,
            "no weights 'resnet10t.c4_in1k': .*resnet10t.c3_in1k",
        ),
        (dict(model_name=18), TypeError, 'model_name is 18: expected a timm model name'),
        (
            dict(model_name='mvitv2_tiny', img_size=(64, 96)),
            ValueError,
            r'mvitv2_tiny cannot be built .*returns feature maps with img_size=\(64, 96\)',
        ),
        (dict(out_indices=(5,)), ValueError, r'\(5,\): .*0, 1, 2, 3, 4'),
        (dict(out_indices=()), ValueError, r'\(\): expected distinct'),
        (
            dict(img_size=64),
            ValueError,
            r"img_size is \(64, 64\): timm's resnet10t is not built for a fixed size",
        ),
        (dict(img_size=(64, 0)), ValueError, r'img_size is \(64, 0\): expected'),
        (dict(img_size='64'), ValueError, "img_size is '64': expected"),
        (
            {**VIT, 'img_size': (250, 192)},
            ValueError,
            r'is \(250, 192\): expected multiples of .*\(16, 16\)',
        ),
        (
            dict(model_args=dict(windows=3)),
            ValueError,
            "resnet10t does not accept .*'windows': 3.*unexpected keyword",
        ),
        (
            dict(model_args=dict(out_indices=(1,))),
            ValueError,
            r"out_indices=\(1,\): give the backbone's",
        ),
        (dict(model_args=dict(depth=None)), ValueError, 'depth=None: leave it'),
        (dict(model_args='depth'), TypeError, "model_args is 'depth'"),
        (dict(drop_path_rate=1.0), ValueError, 'drop_path_rate is 1.0'),
        (
            dict(drop_path_rate='a'),
            TypeError,
            "drop_path_rate is 'a': .*or None for timm's default",
        ),
        (dict(in_channels=0), ValueError, 'in_channels is 0: expected an integer'),
        (dict(img_size=True), ValueError, 'img_size is True: expected the side'),
        (
            dict(model_name='vgg11', drop_path_rate=0.1),
            ValueError,
            "vgg11 does not accept .*'drop_path_rate': 0.1",
        ),
        (dict(VIT, norm_eval=True), ValueError, 'has no batch norm'),
        (
            dict(model_name='hrnet_w18_small', with_cp=True),
            ValueError,
            'hrnet_w18_small has no activation checkpointing',
        ),
        # timm accepts the option here, and does not use it
        (
            dict(model_name='coat_tiny', with_cp=True),
            ValueError,
            'coat_tiny has no activation checkpointing',
        ),
        (dict(pretrained='yes'), TypeError, "pretrained is 'yes'"),
        (
            dict(
                model_name='resnet14t',
                pretrained=True,
                init_cfg=dict(type='Pretrained', checkpoint='x.pth'),
            ),
            ValueError,
            'pretrained=True and init_cfg both',
        ),
        (dict(model_name='hrnet_w18.untrained', pretrained=True), ValueError, 'no weights'),
        (
            dict(model_name='botnet50ts_256', pretrained=True),
            ValueError,
            'no weights of botnet50ts_256; expected False, or .*botnet26t',
        ),
    ],
)
def test_invalid_arguments_raise(arguments, error, message):
    with pytest.raises(error, match=message):
        TimmBackbone(**{**CONV, **arguments})
