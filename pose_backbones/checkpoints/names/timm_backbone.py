"""`TimmBackbone`: parameter names with its prefix; the others depend on the timm model."""

from ._family import Family, any_of

FAMILY = Family(name='TimmBackbone', signature=any_of(r'model\..+'), alone=False)
