"""Layer-wise learning rate decay: lower learning rates for the first layers of a backbone."""

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from ..errors import closest
from ..models.backbones import BaseBackbone
from ..registry import OPTIM_WRAPPER_CONSTRUCTORS

_OPTIONS = ('decay_rate', 'decay_type')
_TYPES = ('layer_wise', 'stage_wise')
#: parameters without weight decay although they are not vectors: position embeddings and tokens
_TABLES = ('pos_embed', 'absolute_pos_embed', 'relative_position_bias_table', 'reg_token')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    r"""Scale the learning rate of each layer of the backbone.

    With L layers, numbered from the input, the parameters of layer l have the learning rate

    .. math:: lr_l = lr \cdot decay\_rate^{\,L - l}, \quad l = 0, …, L - 1

    Parameters after the last layer have the learning rate lr: the neck, the head, and the norms of
    the backbone's feature maps, which ImageNet weights do not contain. Stages after the last one of
    the backbone's `out_indices` are not counted. Weight decay is not applied to biases, norms and
    other vectors, position embeddings, or tokens.

    Source: the detection and segmentation code of the [ConvNeXt
    repository](https://github.com/facebookresearch/ConvNeXt). `ConvNeXt.layer_groups` defines the
    same layers; for other backbones, each block is a layer.

    Deviations: the number of layers is determined from the backbone, whereas the original has the
    option `num_layers`. With `'stage_wise'`, a layer is a stage together with the modules before
    it; in the original, the stage-wise rates also depend on `num_layers`, and the downsampling
    layers belong to the stem.

    The class takes the arguments of MMEngine's constructors. The optimizer of `optim_wrapper_cfg`
    needs an `lr`. `paramwise_cfg` has two options: `decay_rate`, greater than 0 and at most 1, and
    `decay_type`, `'layer_wise'` (default) or `'stage_wise'`.

    Raises:
        ValueError: If an option is invalid, or if the optimizer has no `lr`.
        TypeError: If the backbone of the model is not one of this package.
    """

    def _validate_cfg(self) -> None:
        cfg = self.paramwise_cfg
        for key in cfg:
            if key not in _OPTIONS:
                raise ValueError(
                    f'paramwise_cfg has {key}={cfg[key]!r}: expected only {" and ".join(_OPTIONS)} '
                    f'(remove options of a base config with _delete_=True){closest(key, _OPTIONS)}'
                )
        rate = cfg.get('decay_rate')
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise ValueError(
                f'paramwise_cfg has decay_rate={rate!r}: expected a number, 0 < decay_rate <= 1'
            )
        kind = cfg.get('decay_type', _TYPES[0])
        if kind not in _TYPES:
            raise ValueError(
                f'paramwise_cfg has decay_type={kind!r}: expected {" or ".join(_TYPES)}'
            )
        if self.base_lr is None:
            raise ValueError(
                'optimizer.lr is missing: it is required, since the learning rates of the layers '
                'are multiples of it'
            )

    def add_params(self, params: list[dict], module: nn.Module) -> None:
        """Add the trainable parameters of a model to parameter groups.

        Args:
            params: Parameter groups, to which a group with and a group without weight decay is
                added for each layer.
            module: The model.
        """
        backbone = getattr(module, 'backbone', None)
        if not isinstance(backbone, BaseBackbone):
            raise TypeError(
                'layer-wise learning rate decay needs a model whose backbone is part of '
                f'pose_backbones: it is {type(backbone).__name__}'
            )
        rate = self.paramwise_cfg['decay_rate']
        layers, top = parameter_layers(backbone, self.paramwise_cfg.get('decay_type', _TYPES[0]))
        groups = {}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            layer = layers.get(name, top)
            decays = not _is_vector(name, parameter)
            groups.setdefault((layer, decays), []).append((name, parameter))
        for (layer, decays), members in sorted(groups.items()):
            group = dict(
                params=[parameter for _, parameter in members],
                lr=self.base_lr * rate ** (top - layer),
            )
            if not decays:
                group['weight_decay'] = 0.0
            params.append(group)
            print_log(
                f'layer {layer} of {top}, lr {group["lr"]:.3g}'
                f'{"" if decays else ", no weight decay"}: {len(members)} '
                f'tensors, {members[0][0]} to {members[-1][0]}',
                logger='current',
            )


def parameter_layers(backbone: BaseBackbone, decay_type: str) -> tuple[dict[str, int], int]:
    """Assign a layer number to each parameter of a backbone, starting from the input.

    Args:
        backbone: Any backbone. With `'layer_wise'`, its method `layer_groups` is used if it exists.
        decay_type: `'layer_wise'` or `'stage_wise'`.

    Returns:
        Mapping from parameter name, with the prefix `backbone.`, to layer; and the number of
        layers. Parameters that are trained from scratch have this number as their layer, like the
        head.
    """
    if decay_type == 'stage_wise':
        groups = [list(backbone.stage_modules(stage)) for stage in range(backbone.num_stages)]
    elif hasattr(backbone, 'layer_groups'):
        groups = backbone.layer_groups()
    else:
        groups = _blocks(backbone)
    while groups and not any(
        parameter.requires_grad for module in groups[-1] for parameter in module.parameters()
    ):
        groups.pop()  # a stage after the last of out_indices
    layers = {
        parameter: number
        for number, group in enumerate(groups)
        for module in group
        for parameter in module.parameters()
    }
    new = backbone.optional_keys
    # Parameters that belong to no module, such as position embeddings, are in the first layer.
    return {
        f'backbone.{name}': len(groups) if name.startswith(new) else layers.get(parameter, 0)
        for name, parameter in backbone.named_parameters()
    }, len(groups)


def _blocks(backbone: BaseBackbone) -> list[list[nn.Module]]:
    """Return a layer for each block.

    Modules before a block belong to its layer; modules after the last block of a stage belong to
    the layer of that block.
    """
    groups = []
    for stage in range(backbone.num_stages):
        stage_groups, leading = [], []
        for module in backbone.stage_modules(stage):
            if not isinstance(module, (nn.ModuleList, nn.Sequential)):
                leading.append(module)
                continue
            for block in module:
                stage_groups.append([*leading, block])
                leading = []
        if stage_groups:
            stage_groups[-1] += leading
        elif leading:
            stage_groups = [leading]
        groups += stage_groups
    return groups


def _is_vector(name: str, parameter: nn.Parameter) -> bool:
    """Return whether a parameter is a vector, possibly with dimensions of size 1, or a table."""
    long_dims = sum(size > 1 for size in parameter.shape)
    return long_dims <= 1 or name.endswith('.bias') or name.rsplit('.', 1)[-1] in _TABLES
