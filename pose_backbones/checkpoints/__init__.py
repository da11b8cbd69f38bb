"""Checkpoints: read them as data, convert their names, load them strictly, write them.

- `loading`: a file or URL to weights, and weights into a model.
- `matching`: comparison of a state dict with a model.
- `conversion`: weights of any known release to today's names, which `names` has by family.
- `conversion_hook`: the same whenever a module loads a state dict.
- `machine`: runs the instructions of a pickle, but builds only containers and records; no name in
  a file is ever imported.
- `grammar`: the names that a checkpoint may use, and the plain object for each of them.
- `storage`: the bytes of tensors in the two file formats of `torch.save`.
- `reading`: a path to a dict, with one error for everything else.
- `downloads`: a URL to a file: the cache, the user's mirror, the servers.
- `transfer`: downloads over HTTP, which are resumed and retried.
- `hugging_face`: files of `hf://`.
- `mirrors`: the settings of mirror and offline mode in the environment.
- `checksums`: SHA-256 of files, in full or in file names.
- `writing`: `torch.save` on a disk that may be full.

docs/security.md states what is guaranteed.

`torch.load(weights_only=True)` was considered for reading, but it rejects released checkpoints that
contain other classes, such as a logger or a NumPy object, unless each class is allowed and
imported. safetensors reads only files in its own format, which none of the supported releases uses.
"""

from .conversion import Conversion, convert_state_dict, inspect_state_dict
from .downloads import Release, local_file, read_url
from .loading import check_checkpoint_path, get_weights, load_weights, read_checkpoint
from .reading import read_file
from .writing import write_file

__all__ = [
    'Conversion',
    'Release',
    'check_checkpoint_path',
    'convert_state_dict',
    'get_weights',
    'inspect_state_dict',
    'load_weights',
    'local_file',
    'read_checkpoint',
    'read_file',
    'read_url',
    'write_file',
]
