"""Names in the state dict of a backbone class, for any size of the architecture."""

import re
from collections.abc import Iterable, Sequence
from functools import cache

import torch


class StateDictNames:
    """Mixin of backbones that recognizes the names of their parameters.

    Attributes:
        naming_device: Device on which `naming_variants` are built; `'meta'` takes no memory.
    """

    naming_device = 'meta'

    @classmethod
    def naming_variants(cls) -> Sequence[dict]:
        """Return arguments of backbones that have every name, up to the numbers in it."""
        return [dict(arch=arch) for arch in cls.arch_settings]

    @classmethod
    def unknown_names(cls, names: Iterable[str]) -> list[str]:
        """Return the names that no backbone of this class has, for any size.

        Numbers in names are not compared, since they depend on the size.

        Args:
            names: Current names, without prefix.
        """
        unknown = list(names)
        for index in range(len(cls.naming_variants())):
            if not unknown:
                break
            templates = _templates(cls, index)
            unknown = [name for name in unknown if _template(name) not in templates]
        return unknown


@cache
def _templates(backbone: type[StateDictNames], index: int) -> frozenset[str]:
    """Return the names of one of the variants of a class, without numbers."""
    with torch.random.fork_rng(devices=[]), torch.device(backbone.naming_device):
        names = backbone(**backbone.naming_variants()[index]).state_dict()
    return frozenset(map(_template, names))


def _template(name: str) -> str:
    return re.sub(r'\d+', '#', name)
