"""Conversion of a checkpoint: what `tools/convert_checkpoint.py` runs."""

import argparse
import json
import os
from collections import OrderedDict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from ..checkpoints import write_file
from ..checkpoints.conversion import Conversion, inspect_state_dict
from ..checkpoints.loading import get_weights, read_checkpoint
from ..checkpoints.reading import VERSIONS
from ..errors import WorkDirError, first_line
from ..preflight import check_output
from ..utils.files import atomic_write, check_not_input, check_writable_file, convert_write_errors
from .verify_conversion import verify, verify_with_config

ENDINGS = ('.pth', '.safetensors')


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `tools/convert_checkpoint.py`."""
    parser = argparse.ArgumentParser(
        description='Write a checkpoint of another release (MMPose 0.x, '
        "ImageNet, mmpretrain, timm) in today's names, and verify it by a "
        'strict load. Training and testing take such files without it.'
    )
    parser.add_argument('source', metavar='SRC', help='file or URL')
    parser.add_argument('destination', metavar='DST', help=f'file to write, {" or ".join(ENDINGS)}')
    parser.add_argument(
        '--config',
        help='verify with the model of this config (default: '
        'with the architecture that the weights have)',
    )
    parser.add_argument(
        '--key',
        metavar='ENTRY',
        help='take the weights from this entry of the file, such as state_dict_ema',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace an existing DST')
    return parser.parse_args(argv)


def convert_checkpoint(
    source: str,
    destination: str,
    config: str | None = None,
    key: str | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Convert a file and verify what was written.

    Args:
        source: File or URL.
        destination: File, `.pth` (weights under `state_dict`, an account
            under `meta`) or `.safetensors` (the account in its metadata).
        config: Config whose model has to take the weights; None: a model is
            made after them.
        key: See `inspect_state_dict`.
        overwrite: Whether an existing file may be replaced.

    Returns:
        The account of what was done.

    Raises:
        PoseBackbonesError: If the file is of no known release, does not fit,
            or cannot be written. `destination` is then as it was.
    """
    target = Path(destination)
    check_writable_file(target, 'DST')
    check_output(destination, 'DST', ENDINGS)
    check_not_input(destination, 'DST', [source, config])
    if os.path.lexists(target) and not overwrite:
        raise WorkDirError(f'{destination} exists: --overwrite replaces it')
    content = read_checkpoint(source)
    conversion = inspect_state_dict(content, key)
    with convert_write_errors(target, 'DST'):
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as draft:
            _write(draft, target.suffix, conversion, content, source)
            written = get_weights(read_checkpoint(str(draft)))
            if config is not None:
                verify_with_config(written, config, source)
            else:
                verify(written, conversion.family, source)
    return conversion


def _write(path: Path, suffix: str, conversion: Conversion, content: dict, source: str) -> None:
    metadata = getattr(conversion.weights, '_metadata', None)
    weights = OrderedDict(
        (name, value.detach().clone().contiguous()) for name, value in conversion.weights.items()
    )
    account = dict(source=Path(source).name, family=conversion.family, naming=conversion.naming)
    if suffix == '.safetensors':
        versions = {} if metadata is None else {VERSIONS: json.dumps(metadata)}
        try:
            save_file(weights, path, metadata={'format': 'pt', **account, **versions})
        except SafetensorError as error:  # of the system, in its words
            raise OSError(first_line(error)) from error
        return
    if metadata is not None:
        weights._metadata = metadata
    meta = content.get('meta')
    if isinstance(meta, dict) and 'dataset_meta' in meta:
        # MMPose's inference takes the keypoints' names from here.
        account['dataset_meta'] = meta['dataset_meta']
    write_file({'state_dict': weights, 'meta': account}, path)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `tools/convert_checkpoint.py`."""
    args = parse_args(argv)
    done = convert_checkpoint(args.source, args.destination, args.config, args.key, args.overwrite)
    taken = f', from its entry {done.entries[0]}' if done.entries else ''
    print(f'{args.source}: {done.family}, {done.naming}{taken}')
    if len(done.entries) > 1:
        print(f'  other entries: {", ".join(done.entries[1:])} (see --key)')
    for name, reason in done.left_out.items():
        print(f'  left out: {name} ({reason})')
    for name in done.added:
        print(f'  added: {name}')
    print(f'{args.destination}: {len(done.weights)} tensors, verified by a strict load')
