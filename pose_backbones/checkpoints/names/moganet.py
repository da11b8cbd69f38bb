"""MogaNet: all releases have the current parameter names."""

from ._family import Family, any_of

FAMILY = Family(
    name='MogaNet',
    signature=any_of(r'blocks\d\.\d+\.attn\.value\.DW_conv0\.weight'),
    original=any_of(r'head\.weight'),
    classifier=any_of(r'head\..+'),
)
