"""Command `convert` (`tools/convert_checkpoint.py`): convert a checkpoint to current names."""

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
from ..preflight import prepare_output
from ..utils.files import atomic_write, check_not_input, check_writable_file, convert_write_errors
from .convert_options import ENDINGS, parse_args
from .verify_conversion import verify, verify_with_config


def convert_checkpoint(
    source: str,
    destination: str,
    config: str | None = None,
    key: str | None = None,
    overwrite: bool = False,
    dataset: str | None = None,
) -> Conversion:
    """Convert a checkpoint file and verify the written file.

    Args:
        source: Path or URL of the checkpoint.
        destination: Path of the output, `.pth` (weights in `state_dict`, record of the conversion
            in `meta`) or `.safetensors` (record in the metadata).
        config: Config of the model to verify the weights with; None means a model that is built
            from the shapes of the weights.
        key: See `inspect_state_dict`.
        overwrite: Whether to replace an existing file.
        dataset: Dataset of ViTPose+, see `inspect_state_dict`.

    Returns:
        The record of the conversion.

    Raises:
        PoseBackbonesError: If the file is of an unknown release, does not match the model, or
            cannot be written. `destination` is then unchanged.
    """
    target = Path(destination)
    check_writable_file(target, 'DST')
    prepare_output(destination, 'DST', ENDINGS)
    check_not_input(destination, 'DST', [source, config])
    if os.path.lexists(target) and not overwrite:
        raise WorkDirError(f'{destination} exists: --overwrite replaces it')
    content = read_checkpoint(source)
    conversion = inspect_state_dict(content, key, dataset)
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
    record = dict(source=Path(source).name, family=conversion.family, naming=conversion.naming)
    if suffix == '.safetensors':
        versions = {} if metadata is None else {VERSIONS: json.dumps(metadata)}
        try:
            save_file(weights, path, metadata={'format': 'pt', **record, **versions})
        except SafetensorError as error:  # wraps errors of the operating system
            raise OSError(first_line(error)) from error
        return
    if metadata is not None:
        weights._metadata = metadata
    meta = content.get('meta')
    if isinstance(meta, dict) and 'dataset_meta' in meta:
        # MMPose's inference reads the names of the keypoints from this entry.
        record['dataset_meta'] = meta['dataset_meta']
    write_file({'state_dict': weights, 'meta': record}, path)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `tools/convert_checkpoint.py`."""
    args = parse_args(argv)
    conversion = convert_checkpoint(
        args.source, args.destination, args.config, args.key, args.overwrite, args.dataset
    )
    entry = f', from its entry {conversion.entries[0]}' if conversion.entries else ''
    print(f'{args.source}: {conversion.family}, {conversion.naming}{entry}')
    if len(conversion.entries) > 1:
        print(f'  other entries: {", ".join(conversion.entries[1:])} (see --key)')
    for name, reason in conversion.left_out.items():
        print(f'  left out: {name} ({reason})')
    for name in conversion.added:
        print(f'  added: {name}')
    print(f'{args.destination}: {len(conversion.weights)} tensors, verified by a strict load')
