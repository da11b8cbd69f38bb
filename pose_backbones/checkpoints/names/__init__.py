"""Parameter names of all supported releases, one module for each family of backbones."""

from . import convnext, hrcomer, moganet, mspn, swin, timm_backbone, uniformer
from ._family import Family, OriginalModel

#: in the order in which checkpoints are compared with them
FAMILIES: tuple[Family, ...] = (
    moganet.FAMILY,
    uniformer.FAMILY,
    convnext.FAMILY,
    swin.FAMILY,
    mspn.FAMILY,
    hrcomer.FAMILY,
    timm_backbone.FAMILY,
)

__all__ = ['FAMILIES', 'Family', 'OriginalModel']
