"""Reading checkpoints and putting their weights into a model, strictly."""

import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.error import URLError

import torch
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import nn

from .errors import CheckpointError, closest

#: what a file may wrap its weights in, in this order
_WRAPPERS = ('state_dict', 'model')


def is_url(path: str) -> bool:
    """Whether a checkpoint is named by an address and not by a file."""
    return '://' in path


def check_checkpoint_path(path: str) -> None:
    """Refuse a path at which no file is, before any other work.

    Args:
        path: A file or a URL; URLs are not tried.

    Raises:
        CheckpointError: With the folder's checkpoints of similar names.
    """
    if is_url(path) or Path(path).expanduser().is_file():
        return
    folder = Path(path).expanduser().parent
    if not folder.is_dir():
        hint = f'; the folder {folder} does not exist'
    else:
        names = sorted(file.name for file in folder.glob('*.pth*'))
        hint = closest(Path(path).name, names) or (
            f'; in {folder} there are: {", ".join(names[:5])}' if names else
            f'; there is no *.pth file in {folder}')
    raise CheckpointError(f'checkpoint not found: {path}{hint}')


def read_checkpoint(path: str, map_location='cpu') -> dict:
    """Read a checkpoint file or URL without running code from it.

    Args:
        path: A file or a URL.
        map_location: As in `torch.load`.

    Returns:
        What the file holds, as a dict.

    Raises:
        CheckpointError: If it is missing, truncated, refused as unsafe, out
            of reach, or not a checkpoint.
    """
    check_checkpoint_path(path)
    try:
        content = CheckpointLoader.load_checkpoint(
            path, map_location, logger='silent')
    except pickle.UnpicklingError as error:
        if 'eights only' not in str(error):
            raise _damaged(path, error) from error
        raise CheckpointError(
            f'checkpoint refused: {path} holds more than weights and could '
            'run code when it is loaded '
            f'({_reason(error)}). If you trust its source, convert it once: '
            'torch.save(torch.load(FILE, weights_only=False)["state_dict"], '
            'NEW_FILE)') from error
    except (URLError, ConnectionError, TimeoutError) as error:
        raise CheckpointError(
            f'checkpoint out of reach: {path} ({error}). Without a network, '
            'download it elsewhere and give the path of the file; weights '
            'that training starts from may be left out with --cfg-options '
            'model.backbone.init_cfg=None') from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f'{path} holds a {type(content).__name__}, not a checkpoint: '
            'expected a dict of weights')
    return content


def _damaged(path: str, error: Exception) -> CheckpointError:
    size = '' if is_url(path) else (
        f' ({Path(path).expanduser().stat().st_size:,} bytes)')
    first = str(error).strip().split('\n')[0] or type(error).__name__
    return CheckpointError(
        f'checkpoint unreadable: {path}{size} is truncated or not a file of '
        f'torch.save ({first}). Copy or download it again')


def _reason(error: Exception) -> str:
    """The line of PyTorch's long message that names what was refused."""
    for line in str(error).split('\n'):
        if 'WeightsUnpickler error: ' in line or 'GLOBAL' in line:
            return line.strip().split('WeightsUnpickler error: ')[-1]
    return str(error).strip().split('\n')[0]


def get_weights(checkpoint: dict) -> dict[str, torch.Tensor]:
    """Find the weights in what a checkpoint file holds.

    Args:
        checkpoint: As read; the weights stand at the top or under
            `state_dict` or `model`.

    Returns:
        Name → tensor, without the `module.` of data-parallel training.

    Raises:
        CheckpointError: If there are none.
    """
    weights = checkpoint
    for key in _WRAPPERS:
        if isinstance(checkpoint.get(key), dict):
            weights = checkpoint[key]
            break
    weights = {
        name: value
        for name, value in weights.items() if torch.is_tensor(value)
    }
    if not weights:
        raise CheckpointError(
            'no weights in the checkpoint: it has the keys '
            f'{", ".join(map(str, list(checkpoint)[:8])) or "(none)"}; '
            f'expected tensors, or one of {", ".join(_WRAPPERS)}')
    if all(name.startswith('module.') for name in weights):
        weights = {name[len('module.'):]: weights[name] for name in weights}
    return weights


def load_weights(model: nn.Module,
                 weights: dict[str, torch.Tensor],
                 source: str,
                 strict: bool = True,
                 ignore: Sequence[str] = (),
                 hint: str = '') -> None:
    """Put weights into a model; nothing is left out silently.

    Args:
        model: Its parameters and buffers are overwritten.
        weights: Name → tensor.
        source: Where they come from, for messages.
        strict: Whether every name and shape has to fit. If not, what did not
            fit is logged, name by name.
        ignore: Prefixes of names in `weights` that the model need not have.
        hint: What the user can do, for the error.

    Raises:
        CheckpointError: If they do not fit; the model is then unchanged.
            Also if not one tensor fits, strict or not.
    """
    weights = {
        name: value
        for name, value in weights.items()
        if not name.startswith(tuple(ignore))
    }
    _rename(model, weights)
    own = model.state_dict()
    missing = [name for name in own if name not in weights]
    unexpected = [name for name in weights if name not in own]
    reshaped = [
        f'{name} is {tuple(weights[name].shape)} in the file and '
        f'{tuple(own[name].shape)} in the model' for name in own
        if name in weights and own[name].shape != weights[name].shape
    ]
    fits = len(own) - len(missing) - len(reshaped)
    report = '; '.join(
        part for part in (_count('missing in the file', missing),
                          _count('unknown to the model', unexpected),
                          _count('of another shape', reshaped)) if part)
    if report and (strict or not fits):
        raise CheckpointError(
            f'{source} is not a checkpoint of this model: {fits} of '
            f'{len(own)} tensors fit; {report}. {hint}'.rstrip())
    if report:
        names = [f'missing in the file: {name}' for name in missing]
        names += [f'unknown to the model: {name}' for name in unexpected]
        names += [f'of another shape: {text}' for text in reshaped]
        print_log(
            f'{source} was loaded in part, {fits} of {len(own)} tensors. '
            'Left out:\n  ' + '\n  '.join(names),
            logger='current')
    model.load_state_dict(
        {
            name: value
            for name, value in weights.items()
            if name in own and own[name].shape == value.shape
        },
        strict=False)


def _rename(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Let the model's modules rename weights of older releases, in place.

    MMPose's estimators, for one, know the names of MMPose 0.x.
    """
    for name, module in model.named_modules():
        prefix = f'{name}.' if name else ''
        for hook in module._load_state_dict_pre_hooks.values():
            hook(weights, prefix, {}, True, [], [], [])


def _count(what: str, names: Iterable[str]) -> str:
    names = list(names)
    if not names:
        return ''
    shown = ', '.join(names[:3]) + (', …' if len(names) > 3 else '')
    return f'{len(names)} {what}: {shown}'
