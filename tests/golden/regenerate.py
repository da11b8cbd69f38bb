"""Compute the golden values of a model again, with its original code.

usage: python tests/golden/regenerate.py CASE CODE [--write]

CASE is the name of a file of this folder without `.json`; CODE is a clone of
the original project. README.md says which one and which packages it needs.
The weights and the image come from the recipe in `tests/helpers/golden_values.py`.
Without `--write`, the values are compared with the file, and the exit status
is 1 if they differ.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.helpers import golden_values  # noqa: E402

Outputs = dict[str, torch.Tensor]


def _stub(name: str, **members) -> None:
    """Put a module in place of one that the original imports for training only."""
    parts = name.split('.')
    for end in range(1, len(parts) + 1):
        part = '.'.join(parts[:end])
        if part not in sys.modules:
            module = sys.modules[part] = types.ModuleType(part)
            module.__path__ = []
    vars(sys.modules[name]).update(members)


def _load(path: Path, name: str):
    """Import a file under a name of our choice."""
    if not path.is_file():
        raise SystemExit(f'error: {path} not found: is this the clone that README.md names?')
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    with contextlib.redirect_stdout(io.StringIO()):
        spec.loader.exec_module(module)
    return module


def _mspn(code: Path, record: dict) -> tuple[torch.nn.Module, Callable[..., Outputs]]:
    sys.path.insert(0, str(code))  # for lib.utils.loss
    module = _load(code / 'exps/mspn.2xstg.coco/network.py', 'original_mspn')
    height, width = record['input'][2:]
    cfg = SimpleNamespace(
        MODEL=SimpleNamespace(STAGE_NUM=record['stages'], UPSAMPLE_CHANNEL_NUM=256),
        DATASET=SimpleNamespace(KEYPOINT=SimpleNamespace(NUM=record['joints'])),
        OUTPUT_SHAPE=(height // 4, width // 4),
        LOSS=SimpleNamespace(OHKM=True, TOPK=8, COARSE_TO_FINE=True),
    )
    net = module.MSPN(cfg)

    def run(image: torch.Tensor) -> Outputs:
        maps, found = [], {}
        hooks = [
            getattr(net, f'stage{stage}').register_forward_hook(
                lambda _, inputs, output: maps.append(output[0])
            )
            for stage in range(record['stages'])
        ]
        rng = np.random.default_rng(record['seed'] + 2)
        shape = (1, 5, record['joints'], *cfg.OUTPUT_SHAPE)
        labels = torch.from_numpy((255 * rng.random(shape)).astype(np.float32))
        valids = torch.from_numpy(rng.integers(0, 3, (1, record['joints'], 1)))
        record['loss'] = net(image, valids, labels)['total_loss'].item()
        for hook in hooks:
            hook.remove()
        for stage, units in enumerate(maps):
            found.update({f'stage{stage}.unit{unit}': value for unit, value in enumerate(units)})
        return found

    return net, run


def _registry() -> SimpleNamespace:
    return SimpleNamespace(register_module=lambda *args, **kwargs: lambda kind: kind)


def _uniformer(code: Path, record: dict) -> tuple[torch.nn.Module, Callable[..., Outputs]]:
    _stub('mmcv_custom', load_checkpoint=None)
    _stub('mmpose.utils', get_root_logger=None)
    _stub('original.builder', BACKBONES=_registry())
    _stub('original.backbones')
    module = _load(
        code / 'pose_estimation/mmpose/models/backbones/uniformer.py',
        'original.backbones.uniformer',
    )
    with contextlib.redirect_stdout(io.StringIO()):
        net = module.UniFormer(
            layers=record['depths'], windows=record['use_window'], hybrid=record['use_hybrid']
        )
    return _with_prefix(net), lambda image: _numbered(net(image))


def _moganet(code: Path, record: dict) -> tuple[torch.nn.Module, Callable[..., Outputs]]:
    module = _load(code / 'models/moganet.py', 'original_moganet')
    net = module.MogaNet(arch=record['arch'], fork_feat=True)
    return _with_prefix(net), lambda image: _numbered(net(image))


def _with_prefix(net: torch.nn.Module) -> torch.nn.Module:
    """As in a pose model's checkpoint."""
    return torch.nn.ModuleDict({'backbone': net})


def _numbered(outputs) -> Outputs:
    outputs = [outputs] if torch.is_tensor(outputs) else outputs
    return {f'out{number}': value for number, value in enumerate(outputs)}


CASES = {
    'mspn_2stg_256x192': _mspn,
    'uniformer_small': _uniformer,
    'uniformer_small_384': _uniformer,
    'uniformer_small_hybrid': _uniformer,
    'moganet_x-tiny': _moganet,
}


def regenerate(case: str, code: Path) -> dict:
    """Compute a record again; its recipe, input and indices stay as they are.

    Args:
        case: One of `CASES`.
        code: A clone of the original project.
    """
    record = golden_values.load(case)
    net, run = CASES[case](code, record)
    state = {name: list(value.shape) for name, value in net.state_dict().items()}
    expected = dict(map(tuple, record['state']))
    if state != expected:
        names = sorted(state.keys() ^ expected.keys())
        raise SystemExit(f'error: the original has other names or shapes, such as {names[:4]}')
    net.load_state_dict(golden_values.weights(record), strict=True)
    net.eval()
    with torch.no_grad():
        found = run(golden_values.image(record))
    for output in record['outputs']:
        values = found[output['name']].contiguous()
        output.update(
            shape=list(values.shape),
            mean=values.mean().item(),
            std=values.std(correction=0).item(),
            absmax=values.abs().max().item(),
            values=values.flatten()[output['idx']].tolist(),
        )
    return record


def difference(old: dict, new: dict) -> float:
    """The largest difference of two records, in units of an output's `absmax`."""
    worst = 0.0
    for one, other in zip(old['outputs'], new['outputs'], strict=True):
        gap = np.abs(np.subtract(one['values'], other['values'])).max()
        worst = max(worst, gap / one['absmax'])
    if 'loss' in old:
        worst = max(worst, abs(new['loss'] / old['loss'] - 1))
    return float(worst)


def main() -> int:
    """Compare or write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('case', choices=CASES)
    parser.add_argument('code', type=Path, help='clone of the original project')
    parser.add_argument('--write', action='store_true', help='replace the file')
    args = parser.parse_args()
    new = regenerate(args.case, args.code)
    gap = difference(golden_values.load(args.case), new)
    print(f'{args.case}: largest difference {gap:.1e} of an output')
    if args.write:
        path = golden_values.FOLDER / f'{args.case}.json'
        path.write_text(json.dumps(new))
        print(f'{path} written')
        return 0
    return int(gap > 1e-5)


if __name__ == '__main__':
    sys.exit(main())
