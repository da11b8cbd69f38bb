"""Checkpoints of the original ViTPose and of ViTPose+ compute what the original model computes."""

import pytest
import torch
from mmengine.config import Config
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules
from torch.nn import functional as F

from pose_backbones.checkpoints.conversion import convert_state_dict, inspect_state_dict
from pose_backbones.checkpoints.loading import load_weights
from pose_backbones.checkpoints.names.vitpose import DATASETS
from pose_backbones.cli.convert import convert_checkpoint
from pose_backbones.errors import CheckpointError
from pose_backbones.zoo import get_config

NAME = 'mmpose::td-hm_ViTPose-small_8xb64-210e_coco-256x192'
WIDTH, HEADS, DEPTH, HIDDEN, PART = 16, 2, 2, 32, 4
HEIGHT_OF_MAP, WIDTH_OF_MAP = 4, 3


def config(num_keypoints: int = 17) -> Config:
    """Return MMPose's config of ViTPose-S with a small model, for images of 64x48."""
    cfg = get_config(NAME)
    arch = dict(embed_dims=WIDTH, num_layers=DEPTH, num_heads=HEADS, feedforward_channels=HIDDEN)
    cfg.model.backbone.update(arch=arch, img_size=(64, 48), init_cfg=None)
    cfg.model.head.update(in_channels=WIDTH, deconv_out_channels=(8, 8), out_channels=num_keypoints)
    cfg.model.test_cfg.flip_test = False
    return cfg


def build(num_keypoints: int = 17, dataset: str | None = None):
    register_all_modules()
    model = MODELS.build(config(num_keypoints).model).eval()
    if dataset:
        model.dataset_meta = dict(dataset_name=dataset)
    return model


def original_weights(num_experts: int = 0) -> dict[str, torch.Tensor]:
    """Return random weights in the names of the ViTPose repository."""
    generator = torch.Generator().manual_seed(3)

    def values(*shape: int, mean: float = 0.0) -> torch.Tensor:
        return mean + 0.3 * torch.randn(*shape, generator=generator)

    weights = {}

    def layer(name: str, *shape: int) -> None:
        weights[f'{name}.weight'], weights[f'{name}.bias'] = values(*shape), values(shape[0])

    def norm(name: str, channels: int) -> None:
        weights[f'{name}.weight'], weights[f'{name}.bias'] = (
            values(channels, mean=1),
            values(channels),
        )

    weights['backbone.pos_embed'] = values(1, HEIGHT_OF_MAP * WIDTH_OF_MAP + 1, WIDTH)
    layer('backbone.patch_embed.proj', WIDTH, 3, 16, 16)
    for number in range(DEPTH):
        block = f'backbone.blocks.{number}'
        norm(f'{block}.norm1', WIDTH)
        layer(f'{block}.attn.qkv', 3 * WIDTH, WIDTH)
        layer(f'{block}.attn.proj', WIDTH, WIDTH)
        norm(f'{block}.norm2', WIDTH)
        layer(f'{block}.mlp.fc1', HIDDEN, WIDTH)
        layer(f'{block}.mlp.fc2', WIDTH - PART if num_experts else WIDTH, HIDDEN)
        for expert in range(num_experts):
            layer(f'{block}.mlp.experts.{expert}', PART, HIDDEN)
    norm('backbone.last_norm', WIDTH)
    for number, count in enumerate(list(DATASETS.values())[: max(num_experts, 1)]):
        head = f'associate_keypoint_heads.{number - 1}' if number else 'keypoint_head'
        for index, channels in ((0, WIDTH), (3, 8)):
            weights[f'{head}.deconv_layers.{index}.weight'] = values(channels, 8, 4, 4)
            norm(f'{head}.deconv_layers.{index + 1}', 8)
            statistics = f'{head}.deconv_layers.{index + 1}.'
            weights[statistics + 'running_mean'] = values(8)
            weights[statistics + 'running_var'] = values(8).square() + 0.5
            weights[statistics + 'num_batches_tracked'] = torch.tensor(7)
        layer(f'{head}.final_layer', count, 8, 1, 1)
    return weights


def original_heatmaps(weights: dict[str, torch.Tensor], image, dataset: str | None = None):
    """Compute the heatmaps as the ViTPose repository does, from images (N, 3, 64, 48)."""

    def of(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return weights[f'{name}.weight'], weights[f'{name}.bias']

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, (WIDTH,), *of(name), eps=1e-6)

    index = list(DATASETS).index(dataset) if dataset else 0
    x = F.conv2d(image, *of('backbone.patch_embed.proj'), stride=16, padding=2)
    x = x.flatten(2).transpose(1, 2)
    position = weights['backbone.pos_embed']
    x = x + position[:, 1:] + position[:, :1]
    for number in range(DEPTH):
        block = f'backbone.blocks.{number}'
        qkv = F.linear(norm(x, f'{block}.norm1'), *of(f'{block}.attn.qkv'))
        q, k, v = qkv.unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        attention = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(-1)
        mixed = (attention @ v).transpose(1, 2).flatten(2)
        x = x + F.linear(mixed, *of(f'{block}.attn.proj'))
        hidden = F.gelu(F.linear(norm(x, f'{block}.norm2'), *of(f'{block}.mlp.fc1')))
        shared = F.linear(hidden, *of(f'{block}.mlp.fc2'))
        if dataset:  # each expert computes its part; that of the dataset is selected
            outputs = [
                F.linear(hidden, *of(f'{block}.mlp.experts.{expert}'))
                for expert in range(len(DATASETS))
            ]
            chosen = F.one_hot(torch.tensor(index), len(DATASETS)).float()
            parts = torch.einsum('e,enlc->nlc', chosen, torch.stack(outputs))
            shared = torch.cat((shared, parts), -1)
        x = x + shared
    x = norm(x, 'backbone.last_norm').transpose(1, 2).unflatten(2, (HEIGHT_OF_MAP, WIDTH_OF_MAP))
    head = f'associate_keypoint_heads.{index - 1}' if index else 'keypoint_head'
    for layer in (0, 3):
        x = F.conv_transpose2d(
            x, weights[f'{head}.deconv_layers.{layer}.weight'], stride=2, padding=1
        )
        name = f'{head}.deconv_layers.{layer + 1}'
        statistics = weights[f'{name}.running_mean'], weights[f'{name}.running_var']
        x = F.batch_norm(x, *statistics, *of(name)).relu()
    return F.conv2d(x, *of(f'{head}.final_layer'))


def assert_equal_heatmaps(model, weights, dataset=None):
    image = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = original_heatmaps(weights, image, dataset)
        actual = model(image, None, mode='tensor')
    assert expected.std() > 0.1
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('dataset', DATASETS)
def test_vitpose_plus(dataset):
    """The metainfo of the model determines the expert and the head."""
    weights = original_weights(len(DATASETS))
    name = {'wholebody': 'coco_wholebody'}.get(dataset, dataset)
    model = build(DATASETS[dataset], name)
    load_weights(model, weights, 'vitpose+.pth')
    assert_equal_heatmaps(model, weights, dataset)


def test_number_of_keypoints_determines_the_dataset():
    """A model of a runner has no metainfo: 16 and 133 keypoints belong to one dataset."""
    weights = original_weights(len(DATASETS))
    model = build(16)
    load_weights(model, weights, 'vitpose+.pth')
    assert_equal_heatmaps(model, weights, 'mpii')
    with pytest.raises(CheckpointError, match='vitpose.*heads for coco, aic.*with 17 keypoints'):
        load_weights(build(), weights, 'vitpose+.pth')
    model = build()
    load_weights(model, weights, 'vitpose+.pth', dataset='ap10k')
    assert_equal_heatmaps(model, weights, 'ap10k')


@pytest.mark.parametrize(('dataset', 'count'), [('crowdpose', 14), (None, 14), ('mine', 16)])
def test_dataset_without_an_expert(dataset, count):
    """The 14 keypoints of CrowdPose are not those of AI Challenger."""
    weights = original_weights(len(DATASETS))
    with pytest.raises(CheckpointError, match=f'{dataset}.* with {count} keypoints.*--dataset'):
        load_weights(build(count, dataset), weights, 'vitpose+.pth')


def test_vitpose():
    weights = original_weights()
    model = build()
    load_weights(model, weights, 'vitpose.pth')
    assert_equal_heatmaps(model, weights)


def test_weights_are_loaded_strictly():
    weights = original_weights(len(DATASETS))
    del weights['backbone.blocks.1.norm2.weight']
    with pytest.raises(CheckpointError, match='missing key: backbone.layers.1.ln2.weight'):
        load_weights(build(dataset='coco'), weights, 'vitpose+.pth')


def test_incomplete_vitpose_plus():
    """Files of the experts of one dataset, and files without heads, name what is missing."""
    weights = original_weights(2)
    with pytest.raises(CheckpointError, match="no expert for the dataset 'mpii'"):
        load_weights(build(16, 'mpii'), weights, 'vitpose+.pth')
    weights = original_weights(len(DATASETS))
    without = {name: weights[name] for name in weights if '_heads.0' not in name}
    with pytest.raises(CheckpointError, match="no head for the dataset 'aic'"):
        load_weights(build(14, 'aic'), without, 'vitpose+.pth')
    weights['backbone.blocks.0.mlp.experts.0.weight'] = torch.zeros(PART, 5)
    with pytest.raises(CheckpointError, match=r'expert of blocks.0.mlp.fc2.weight does not fit'):
        load_weights(build(dataset='coco'), weights, 'vitpose+.pth')


def test_convert_tool(tmp_path):
    """The expert of APT-36K, which MMPose has no metainfo of, is converted by its name."""
    weights = original_weights(len(DATASETS))
    source, path = tmp_path / 'vitpose+.pth', tmp_path / 'apt36k.pth'
    torch.save(dict(state_dict=weights), source)
    config().dump(tmp_path / 'small.py')
    arguments = str(source), str(path), str(tmp_path / 'small.py')
    with pytest.raises(CheckpointError, match='None, but .* ViTPose.: expected one of coco, aic'):
        convert_checkpoint(*arguments)
    with pytest.raises(CheckpointError, match="'ap36k' is not a dataset of ViTPose.: .* apt36k"):
        convert_checkpoint(*arguments, dataset='ap36k')
    with pytest.raises(CheckpointError, match='recognised, but VisionTransformer .* --config'):
        convert_checkpoint(*arguments[:2], dataset='apt36k')
    record = convert_checkpoint(*arguments, dataset='apt36k')
    assert (record.family, record.naming) == ('VisionTransformer', 'ViTPose+')
    assert 'keypoint_head.final_layer.weight' in record.left_out
    assert 'associate_keypoint_heads.3.final_layer.weight' not in record.left_out
    model = build()
    load_weights(model, torch.load(path)['state_dict'], str(path))
    assert_equal_heatmaps(model, weights, 'apt36k')


def test_dataset_of_other_weights():
    weights = original_weights()
    assert inspect_state_dict(weights).naming == 'ViTPose'
    assert convert_state_dict(weights)['head.final_layer.bias'].shape == (17,)
    with pytest.raises(CheckpointError, match="'coco', but the weights are of ViTPose: .* none"):
        inspect_state_dict(weights, dataset='coco')
    with pytest.raises(CheckpointError, match="'coco', but the weights are not of ViTPose"):
        inspect_state_dict({'backbone.x': torch.zeros(1)}, dataset='coco')
