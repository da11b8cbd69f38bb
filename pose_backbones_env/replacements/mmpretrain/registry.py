"""Registry of models with the scope `mmpretrain`, see `mmengine.registry`."""

from mmengine import registry as root

_SCOPE = 'mmpretrain'


class _ModelRegistry(root.Registry):
    """Registry that explains why a model of mmpretrain is missing."""

    def get(self, key: str) -> type | None:
        """Return a class.

        Raises:
            KeyError: If this registry does not have the name, and neither do its parents.
        """
        kind = super().get(key)
        if kind is None and self.split_scope_key(key)[0] in (None, _SCOPE):
            raise KeyError(
                f'{_SCOPE}.{self.split_scope_key(key)[1]} requires mmpretrain, of which '
                'pose_backbones replaces only VisionTransformer. Install it: '
                'pip install mmpretrain==1.2.0'
            )
        return kind


for _registry in list(vars(root).values()):
    # An mmpretrain whose import failed has left its registries.
    if isinstance(_registry, root.Registry):
        _registry.children.pop(_SCOPE, None)
MODELS = _ModelRegistry('model', parent=root.MODELS, scope=_SCOPE, locations=['mmpretrain.models'])
