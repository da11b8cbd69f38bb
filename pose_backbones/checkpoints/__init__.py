"""Reading checkpoint files as data, and writing them.

- `machine`: runs the instructions of a pickle, but builds containers and
  records only; no name in a file is ever imported.
- `grammar`: the names that a checkpoint may use, and the plain object that
  each stands for.
- `storage`: the tensors' bytes in the two file formats of `torch.save`.
- `reading`: a path to a dict, with one error for everything else.
- `downloads`: the cache of checkpoints at URLs.
- `writing`: `torch.save` on a disk that may be full.

docs/security.md states what is guaranteed.
"""

from .downloads import read_url
from .reading import read_file
from .writing import write_file

__all__ = ['read_file', 'read_url', 'write_file']
