"""What tells the weights of one family of backbones from another's."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from .names import convnext, hrcomer, mspn, swin, uniformer

_AFFINE = r'(weight|bias)'
_NORM = r'(weight|bias|running_mean|running_var|num_batches_tracked)'
_NEVER = re.compile(r'(?!)')


def _names(*patterns: str) -> re.Pattern:
    return re.compile('|'.join(f'(?:{pattern})' for pattern in patterns))


def _unchanged(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return weights


@dataclass(frozen=True)
class Family:
    """A family of backbones; patterns are of names without prefix.

    Attributes:
        name: Of the class.
        signature: A name that every release of the family has, and no
            other's.
        original: A name that only the family's own ImageNet releases have.
        timm: A name that only timm's releases have.
        today: The names of today's class.
        classifier: What a classifier has and a backbone has not.
        pretext: What only the task of a self-supervised pretraining needs.
        fills: Today's names that a release may lack without loss, so that
            the conversion adds them.
        convert: Any release's names → today's.
        alone: Whether its names tell it without the prefix `backbone.`.
    """

    name: str
    signature: re.Pattern
    original: re.Pattern
    timm: re.Pattern
    today: re.Pattern
    classifier: re.Pattern
    fills: re.Pattern
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    pretext: re.Pattern = _NEVER
    alone: bool = True


FAMILIES = (
    Family(
        name='MogaNet',
        signature=_names(r'blocks\d\.\d+\.attn\.value\.DW_conv0\.weight'),
        original=_names(r'head\.weight'),
        timm=_NEVER,
        today=_names(
            rf'patch_embed\d\.(projection(\.\d)?|norm)\.{_NORM}',
            rf'blocks\d\.\d+\.norm[12]\.{_NORM}',
            r'blocks\d\.\d+\.layer_scale_[12]',
            rf'blocks\d\.\d+\.attn\.(proj_[12]|gate)\.{_AFFINE}',
            rf'blocks\d\.\d+\.attn\.value\.(DW_conv[012]|PW_conv)\.{_AFFINE}',
            rf'blocks\d\.\d+\.mlp\.(fc[12]|dwconv|decompose)\.{_AFFINE}',
            r'blocks\d\.\d+\.(attn|mlp)\.sigma\.scale',
            rf'norm\d\.{_NORM}',
        ),
        classifier=_names(r'head\..+'),
        fills=_NEVER,
        convert=_unchanged,
    ),
    Family(
        name='UniFormer',
        signature=_names(r'blocks\d\.\d+\.pos_embed\.weight'),
        original=_names(r'head\.weight', r'norm\.weight'),
        timm=_NEVER,
        today=_names(
            rf'patch_embed\d\.(norm|proj(\.\d)?)\.{_NORM}',
            rf'blocks\d\.\d+\.(pos_embed|conv[12]|attn)\.{_AFFINE}',
            rf'blocks\d\.\d+\.attn\.(qkv|proj)\.{_AFFINE}',
            rf'blocks\d\.\d+\.mlp\.fc[12]\.{_AFFINE}',
            rf'blocks\d\.\d+\.norm[12]\.{_NORM}',
            r'blocks\d\.\d+\.gamma_[12]',
            rf'norm\d\.{_AFFINE}',
        ),
        classifier=_names(rf'norm\.{_NORM}', r'(aux_)?head\..+'),
        fills=_names(rf'norm\d\.{_AFFINE}'),
        convert=uniformer.convert_backbone,
    ),
    Family(
        name='ConvNeXt',
        signature=_names(
            r'stages\.\d\.\d+\.(dwconv|depthwise_conv)\.weight',
            r'encoder\.stages\.\d\.\d+\.dwconv\.(weight|kernel)',
            r'stages\.\d\.blocks\.\d+\.conv_dw\.weight',
        ),
        original=_names(r'(encoder\.)?stages\.\d\.\d+\.dwconv\.(weight|kernel)'),
        timm=_names(r'head\.(norm|fc)\.weight'),
        today=_names(
            rf'stem\.[01]\.{_AFFINE}',
            rf'stages\.\d\.downsample\.[01]\.{_AFFINE}',
            rf'stages\.\d\.blocks\.\d+\.(conv_dw|norm)\.{_AFFINE}',
            rf'stages\.\d\.blocks\.\d+\.mlp\.(fc[12]|grn)\.{_AFFINE}',
            r'stages\.\d\.blocks\.\d+\.gamma',
            rf'norm\d\.{_AFFINE}',
        ),
        # The norm behind the pool is that of the last map.
        classifier=_names(r'head\.(?!norm\.).+'),
        pretext=_names(r'(decoder|proj|pred)\..+', r'mask_token'),
        fills=_NEVER,
        convert=convnext.convert_backbone,
    ),
    Family(
        name='SwinTransformer',
        signature=_names(
            r'(stages|layers)\.\d\.blocks\.\d+\.attn\.'
            r'(w_msa\.)?relative_position_bias_table'
        ),
        original=_names(r'layers\.0\.downsample\.reduction\.weight'),
        timm=_names(r'layers\.1\.downsample\.reduction\.weight'),
        today=_names(
            rf'patch_embed\.(projection|norm)\.{_AFFINE}',
            rf'stages\.\d\.blocks\.\d+\.norm[12]\.{_AFFINE}',
            rf'stages\.\d\.blocks\.\d+\.attn\.w_msa\.(qkv|proj)\.{_AFFINE}',
            r'stages\.\d\.blocks\.\d+\.attn\.w_msa\.relative_position_'
            r'(bias_table|index)',
            rf'stages\.\d\.blocks\.\d+\.ffn\.layers\.(0\.0|1)\.{_AFFINE}',
            rf'stages\.\d\.downsample\.(norm|reduction)\.{_AFFINE}',
            rf'norm\d\.{_AFFINE}',
        ),
        classifier=_names(r'head\..+', r'.+\.attn_mask'),
        fills=_names(r'.+\.relative_position_index'),
        convert=swin.convert_backbone,
    ),
    Family(
        name='MSPN',
        signature=_names(
            r'(stage0|multi_stage_mspn\.0)\.upsample\.up1\.'
            r'(u|in)_skip\.conv\.weight'
        ),
        original=_NEVER,
        timm=_NEVER,
        today=_names(
            rf'top\.conv\.(conv|bn)\.{_NORM}',
            r'stage\d\.downsample\.layer\d\.\d+\.'
            rf'(conv_bn_relu\d|downsample)\.(conv|bn)\.{_NORM}',
            r'stage\d\.upsample\.up\d\.'
            rf'(u_skip|up_conv|skip[12]|cross_conv)\.(conv|bn)\.{_NORM}',
        ),
        classifier=_NEVER,
        # MMPose's convolutions have no bias.
        fills=_names(r'.+\.conv\.bias'),
        convert=mspn.convert_backbone,
    ),
    Family(
        name='HRCoMer',
        signature=_names(r'hr_adapter\.stage2\.0\.branches\.0\.0\.conv1\.weight'),
        original=_NEVER,
        timm=_NEVER,
        today=_names(
            rf'base_net\.stem\.[01]\.{_AFFINE}',
            rf'base_net\.stages\.\d\.downsample\.[01]\.{_AFFINE}',
            rf'base_net\.stages\.\d\.blocks\.\d+\.(conv_dw|norm)\.{_AFFINE}',
            r'base_net\.stages\.\d\.blocks\.\d+\.mlp\.(fc[12]|grn)\.'
            rf'{_AFFINE}',
            rf'hr_adapter\.(trans_(b2h|h2b)\.\d\.conv|stage1_trans)\.[01]\.'
            rf'{_NORM}',
            rf'hr_adapter\.stage1\.\d\.((conv|bn)\d|(downsample\.)?[01])\.'
            rf'{_NORM}',
            r'hr_adapter\.stage[2-4]\.\d\.branches\.\d\.\d+\.(conv|bn)[12]\.'
            rf'{_NORM}',
            r'hr_adapter\.stage[2-4]\.\d\.fuse_layers\.\d\.\d\.(\d\.)?[01]\.'
            rf'{_NORM}',
        ),
        classifier=_NEVER,
        fills=_NEVER,
        convert=hrcomer.convert_backbone,
    ),
    Family(
        name='TimmBackbone',
        signature=_names(r'model\..+'),
        original=_NEVER,
        timm=_NEVER,
        today=_names(r'model\..+'),
        classifier=_NEVER,
        fills=_NEVER,
        convert=_unchanged,
        alone=False,
    ),
)


def find_family(names: Iterable[str], alone: bool) -> Family | None:
    """The family whose signature is among names without prefix.

    Args:
        names: Of a backbone's weights.
        alone: Whether they had no prefix in the file either.

    Returns:
        None if they are of no known family.
    """
    names = list(names)
    for family in FAMILIES:
        if (family.alone or not alone) and any(family.signature.fullmatch(name) for name in names):
            return family
    return None
