"""`TimmBackbone`: its own names. Those of timm's models depend on the model."""

from ._family import Family, any_of

FAMILY = Family(name='TimmBackbone', signature=any_of(r'model\..+'), alone=False)
