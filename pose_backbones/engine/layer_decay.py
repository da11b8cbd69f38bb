"""Learning rates that fall from the head to the image."""

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from ..errors import closest
from ..models.backbones import BaseBackbone
from ..registry import OPTIM_WRAPPER_CONSTRUCTORS

_OPTIONS = ('decay_rate', 'decay_type')
_TYPES = ('layer_wise', 'stage_wise')
#: what has no weight decay though it is no vector: positions and tokens
_TABLES = ('pos_embed', 'absolute_pos_embed', 'relative_position_bias_table', 'reg_token')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    r"""Give each layer of the backbone a learning rate of its own.

    With L layers, numbered from the image on, the parameters of layer l have

    .. math:: lr_l = lr \cdot decay\_rate^{\,L - l}, \quad l = 0, …, L - 1

    and what stands behind them (neck, head, and norms of the backbone's
    maps, which no ImageNet release has) has lr itself. Stages behind the
    last of the backbone's `out_indices` do not count. There is no weight
    decay for biases, norms and other vectors, nor for position embeddings
    and tokens.

    Source: the detection and segmentation code of the [ConvNeXt
    repository](https://github.com/facebookresearch/ConvNeXt), whose layers
    `ConvNeXt.layer_groups` gives; other backbones have one for each block.

    Deviations: the number of layers is read from the backbone, where the
    original has `num_layers`; its stage-wise rates depend on that number,
    too, and its downsamplings count as the stem; here a stage, with what
    leads to it, is a layer.

    It takes the arguments of MMEngine's constructors. The optimizer of
    `optim_wrapper_cfg` needs an `lr`. `paramwise_cfg` has two options:
    `decay_rate`, above 0 and at most 1, and `decay_type`, `'layer_wise'`
    (default) or `'stage_wise'`.

    Raises:
        ValueError: For a wrong option, or if the optimizer has no lr.
        TypeError: If the model's backbone is not one of this package.
    """

    def _validate_cfg(self) -> None:
        cfg = self.paramwise_cfg
        for key in cfg:
            if key not in _OPTIONS:
                raise ValueError(
                    f'paramwise_cfg has {key}={cfg[key]!r}: expected '
                    f'{" and ".join(_OPTIONS)} alone (options of a base '
                    f'config go with _delete_=True){closest(key, _OPTIONS)}'
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
                'optimizer.lr is missing: the learning rates of the layers are fractions of it'
            )

    def add_params(self, params: list[dict], module: nn.Module) -> None:
        """Put all parameters that are trained into groups.

        Args:
            params: Groups, to which one is added for each layer, with and
                without weight decay.
            module: The model.
        """
        backbone = getattr(module, 'backbone', None)
        if not isinstance(backbone, BaseBackbone):
            raise TypeError(
                'layer-wise learning-rate decay needs a model whose backbone '
                f'is of pose_backbones: it is {type(backbone).__name__}'
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
    """Number a backbone's layers, from the image on.

    Args:
        backbone: Any; its own `layer_groups`, if it has some, count for
            `'layer_wise'`.
        decay_type: `'layer_wise'` or `'stage_wise'`.

    Returns:
        Parameter name, with `backbone.`, → layer; and how many layers there
        are. What starts from nothing has this number, as has the head.
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
        groups.pop()  # behind the last of out_indices
    layers = {
        parameter: number
        for number, group in enumerate(groups)
        for module in group
        for parameter in module.parameters()
    }
    new = backbone.optional_keys
    # What stands beside the modules, such as position embeddings, is first.
    return {
        f'backbone.{name}': len(groups) if name.startswith(new) else layers.get(parameter, 0)
        for name, parameter in backbone.named_parameters()
    }, len(groups)


def _blocks(backbone: BaseBackbone) -> list[list[nn.Module]]:
    """A layer for each block; what leads to a block goes with it, what
    follows the last one of a stage with that."""
    groups = []
    for stage in range(backbone.num_stages):
        own, leading = [], []
        for module in backbone.stage_modules(stage):
            if not isinstance(module, (nn.ModuleList, nn.Sequential)):
                leading.append(module)
                continue
            for block in module:
                own.append([*leading, block])
                leading = []
        if own:
            own[-1] += leading
        elif leading:
            own = [leading]
        groups += own
    return groups


def _is_vector(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a vector, whatever its shape, or a table."""
    sides = sum(side > 1 for side in parameter.shape)
    return sides <= 1 or name.endswith('.bias') or name.rsplit('.', 1)[-1] in _TABLES
