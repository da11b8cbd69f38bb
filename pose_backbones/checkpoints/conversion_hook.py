"""Conversion of state dicts of other releases while they are loaded."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

#: entry of the original checkpoints that has the weights
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
        convert: From a state dict, without the prefix of the module, to one in the module's own
            names. A function of a Python module, so that the model can be pickled.
        whole: Whether the module is a whole model. The original code may have all its weights in
            an entry `model`.
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
    own = {
        name[len(prefix) :]: state_dict.pop(name)
        for name in list(state_dict)
        if name.startswith(prefix)
    }
    state_dict.update({prefix + name: value for name, value in convert(own).items()})
