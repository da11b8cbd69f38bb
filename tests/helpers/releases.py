"""State dicts with the names of released checkpoints, small shapes and random values."""

import torch

DIMS, DEPTHS = (8, 16, 24, 32), (1, 2, 1, 1)


def fill(shapes, seed=0):
    """Return name → random tensor; variances are positive."""
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: 0.1 + torch.rand(shape, generator=generator) / 2 for name, shape in shapes.items()
    }
    for name in weights:
        if name.endswith('num_batches_tracked'):
            weights[name] = torch.tensor(7)
    return weights


def _layer(name, *shape):
    return {f'{name}.weight': shape, f'{name}.bias': shape[:1]}


def _batch_norm(name, width):
    return {
        **_layer(name, width),
        f'{name}.running_mean': (width,),
        f'{name}.running_var': (width,),
        f'{name}.num_batches_tracked': (),
    }


def uniformer_imagenet(layer_scale=False, token_labels=False, conv_stem=False):
    """Return the weights of a classifier of Sense-X/UniFormer, `image_classification`."""
    shapes, previous = {}, 3
    for stage, (width, depth) in enumerate(zip(DIMS, DEPTHS), 1):
        embed, conv = f'patch_embed{stage}', stage < 3
        side = 4 if stage == 1 else 2
        if conv_stem and stage == 1:
            half = width // 2
            shapes |= (
                _layer(f'{embed}.proj.0', half, 3, 3, 3)
                | _batch_norm(f'{embed}.proj.1', half)
                | _layer(f'{embed}.proj.3', width, half, 3, 3)
                | _batch_norm(f'{embed}.proj.4', width)
            )
        elif conv_stem:
            shapes |= _layer(f'{embed}.proj.0', width, previous, 3, 3)
            shapes |= _batch_norm(f'{embed}.proj.1', width)
        else:
            shapes |= _layer(f'{embed}.norm', width)
            shapes |= _layer(f'{embed}.proj', width, previous, side, side)
        for index in range(depth):
            name, ones = f'blocks{stage}.{index}', (1, 1) if conv else ()
            norm = _batch_norm if conv else _layer
            shapes |= _layer(f'{name}.pos_embed', width, 1, 3, 3)
            shapes |= norm(f'{name}.norm1', width)
            shapes |= norm(f'{name}.norm2', width)
            shapes |= _layer(f'{name}.mlp.fc1', 4 * width, width, *ones)
            shapes |= _layer(f'{name}.mlp.fc2', width, 4 * width, *ones)
            if conv:
                shapes |= _layer(f'{name}.conv1', width, width, 1, 1)
                shapes |= _layer(f'{name}.conv2', width, width, 1, 1)
                shapes |= _layer(f'{name}.attn', width, 1, 5, 5)
            else:
                shapes |= _layer(f'{name}.attn.qkv', 3 * width, width)
                shapes |= _layer(f'{name}.attn.proj', width, width)
            if layer_scale:
                scale = (1, width, 1, 1) if conv else (width,)
                shapes |= {f'{name}.gamma_1': scale, f'{name}.gamma_2': scale}
        previous = width
    shapes |= _batch_norm('norm', previous) | _layer('head', 10, previous)
    if token_labels:
        shapes |= _layer('aux_head', 10, previous)
    return fill(shapes)


#: names of the parts of a block: original, mmpretrain and MMPose 0.x, timm
_BLOCK = {
    'original': ('dwconv', 'pwconv1', 'pwconv2', 'grn.gamma', 'grn.beta'),
    'mmpretrain': ('depthwise_conv', 'pointwise_conv1', 'pointwise_conv2', 'grn.gamma', 'grn.beta'),
    'timm': ('conv_dw', 'mlp.fc1', 'mlp.fc2', 'mlp.grn.weight', 'mlp.grn.bias'),
}


def convnext_backbone(naming, v2=False):
    """Return the weights of the stem and the blocks; the values do not depend on the naming.

    If the naming includes them, the weights of the classifier's last layers are included.
    """
    parts, shapes, previous = _BLOCK[naming], {}, 3
    for stage, (width, depth) in enumerate(zip(DIMS, DEPTHS)):
        down = f'downsample_layers.{stage}'
        if naming == 'timm':
            down = f'stages.{stage}.downsample' if stage else 'stem'
        side, conv, norm = (2, 1, 0) if stage else (4, 0, 1)
        shapes |= _layer(f'{down}.{conv}', width, previous, side, side)
        shapes |= _layer(f'{down}.{norm}', previous if stage else width)
        for index in range(depth):
            block = 'blocks.' if naming == 'timm' else ''
            name = f'stages.{stage}.{block}{index}'
            response = (1, 1, 1, 4 * width) if naming == 'original' else (4 * width,)
            shapes |= _layer(f'{name}.{parts[0]}', width, 1, 7, 7)
            shapes |= _layer(f'{name}.norm', width)
            shapes |= _layer(f'{name}.{parts[1]}', 4 * width, width)
            if v2:
                shapes |= {f'{name}.{parts[3]}': response, f'{name}.{parts[4]}': response}
            shapes |= _layer(f'{name}.{parts[2]}', width, 4 * width)
            if not v2:
                shapes[f'{name}.gamma'] = (width,)
        previous = width
    last = {'original': 'norm', 'mmpretrain': 'norm3', 'timm': 'head.norm'}
    shapes |= _layer(last[naming], previous)
    if naming != 'mmpretrain':
        head = 'head.fc' if naming == 'timm' else 'head'
        shapes |= _layer(head, 10, previous)
    return fill(shapes)


def convnext_fcmae():
    """Return pretrained weights of facebookresearch/ConvNeXt-V2, in dense and in sparse form.

    Dense weights, as released, have response norms of shape (1, C) and no layer after the blocks.
    Sparse weights, as trained, have the encoder in MinkowskiEngine's layers, whose kernel cells are
    counted column by column, and a decoder.
    """
    dense = {
        name: value[0, 0] if '.grn.' in name else value
        for name, value in convnext_backbone('original', True).items()
        if not name.startswith(('norm.', 'head.'))
    }
    sparse = {}
    for name, value in dense.items():
        layer, leaf = name.rsplit('.', 1)
        if name.startswith('downsample_layers.0.') or '.grn.' in name:
            sparse[f'encoder.{name}'] = value
        elif value.ndim == 4:
            columns = [
                value[:, :, row, column].T
                for column in range(value.shape[3])
                for row in range(value.shape[2])
            ]
            kernel = torch.stack(columns)
            if layer.endswith('dwconv'):
                kernel = kernel[:, 0]
            sparse[f'encoder.{layer}.kernel'] = kernel
        elif f'{layer}.weight' in dense and dense[f'{layer}.weight'].ndim > 2:
            sparse[f'encoder.{name}'] = value[None]
        else:
            kind = 'linear' if 'pwconv' in name else 'ln'
            sparse[f'encoder.{layer}.{kind}.{leaf}'] = value
    shapes = {'mask_token': (1, 16, 1, 1)}
    shapes |= _layer('proj', 16, DIMS[-1], 1, 1)
    shapes |= _layer('decoder.0.dwconv', 16, 1, 7, 7)
    shapes |= _layer('decoder.0.pwconv1', 64, 16)
    shapes |= {'decoder.0.grn.gamma': (1, 1, 1, 64)}
    shapes |= _layer('pred', 12, 16, 1, 1)
    return dense, {**sparse, **fill(shapes, seed=2)}


def old_head(width, conv_layers=0):
    """Return `keypoint_head.*` of MMPose 0.x, with one deconvolution and 17 keypoints."""
    shapes = {'deconv_layers.0.weight': (width, 8, 4, 4)}
    shapes |= _batch_norm('deconv_layers.1', 8)
    if not conv_layers:
        shapes |= _layer('final_layer', 17, 8, 1, 1)
    else:
        for index in range(0, 3 * conv_layers, 3):
            shapes |= _layer(f'final_layer.{index}', 8, 8, 3, 3)
            shapes |= _batch_norm(f'final_layer.{index + 1}', 8)
        shapes |= _layer(f'final_layer.{3 * conv_layers}', 17, 8, 1, 1)
    return fill({f'keypoint_head.{name}': shape for name, shape in shapes.items()}, seed=1)


def with_prefix(prefix, weights):
    """Add a prefix to the names of weights."""
    return {f'{prefix}.{name}': weights[name] for name in weights}


def original_swin():
    """Return the weights of a classifier of microsoft/Swin-Transformer, and timm's model.

    It has two stages, in each of which the feature map is larger than a window.
    """
    from timm.models.swin_transformer import SwinTransformer, get_relative_position_index

    torch.manual_seed(0)
    net = SwinTransformer(
        img_size=64, embed_dim=16, depths=(2, 2), num_heads=(2, 4), window_size=4, num_classes=3
    ).eval()
    weights = {}
    for name, value in net.state_dict().items():
        value.copy_(torch.randn_like(value) * 0.3)
        name = name.replace('layers.1.downsample', 'layers.0.downsample')
        weights[name.replace('head.fc', 'head')] = value
        if name.endswith('relative_position_bias_table'):
            weights[name.replace('bias_table', 'index')] = get_relative_position_index(4, 4)
    weights['layers.0.blocks.1.attn_mask'] = torch.zeros(16, 16, 16)
    return net, weights
