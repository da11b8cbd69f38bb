"""Taking weights of other releases whoever loads them."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

#: under what the originals keep their weights
_WRAPPER = 'model'


def convert_when_loaded(
    module: nn.Module,
    convert: Callable[[dict[str, Tensor]], Mapping[str, Tensor]],
    whole: bool = False,
) -> None:
    """Have a module rename what it is to load, in place.

    PyTorch and MMEngine call this, whoever loads.

    Args:
        module: Its weights, without the prefix that they have in the whole
            model, are given to `convert`.
        convert: From a state dict to one in the module's own names; of a
            module of the package, so that the model can be pickled.
        whole: Whether it is a whole model, of which checkpoints of the
            originals may have all weights under `model`.
    """
    module.register_load_state_dict_pre_hook(partial(_convert, convert=convert, whole=whole))


def _convert(
    _module: nn.Module, state_dict: dict, prefix: str, *_reports, convert: Callable, whole: bool
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
