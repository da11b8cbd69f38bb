"""Hook that converts state dicts of other releases when they are loaded."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

#: entry of the original checkpoints that contains the weights
_WRAPPER = 'model'


def register_state_dict_conversion(
    module: nn.Module,
    convert: Callable[[dict[str, Tensor]], Mapping[str, Tensor]],
    whole: bool = False,
) -> None:
    """Convert the names of weights whenever a module loads a state dict.

    Registers a hook that PyTorch's `load_state_dict` and MMEngine's loader call.

    Args:
        module: The module.
        convert: Function that converts a state dict, without the prefix of the module, to the names
            of the module. It must be a module-level function, so that the model can be pickled.
        whole: Whether the module is a whole model. Checkpoints of the original code can have all
            weights in an entry `model`.
    """
    module.register_load_state_dict_pre_hook(partial(_convert, convert=convert, whole=whole))


def _convert(
    _module: nn.Module,
    state_dict: dict,
    prefix: str,
    *_reports: object,
    convert: Callable,
    whole: bool,
) -> None:
    if whole and isinstance(state_dict.get(_WRAPPER), Mapping):
        content = state_dict[_WRAPPER]
        state_dict.clear()
        state_dict.update({prefix + name: content[name] for name in content})
    weights = {
        name[len(prefix) :]: state_dict.pop(name)
        for name in list(state_dict)
        if name.startswith(prefix)
    }
    state_dict.update({prefix + name: value for name, value in convert(weights).items()})
