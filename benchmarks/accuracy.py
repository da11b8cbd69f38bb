"""Benchmark of exported models of this package and of MMPose: AP on COCO over crops per second."""

import argparse
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import mmpose
import numpy as np
import torch
import yaml
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpose.apis import init_model
from mmpose.apis.inference import dataset_meta_from_config
from mmpose.utils import register_all_modules
from torch import nn

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.configs import load_config
from pose_backbones.deploy.export import export_model
from pose_backbones.deploy.runtimes import Runtime, load_runtime
from pose_backbones.deploy.verification import example_crops
from pose_backbones.errors import ConfigError
from pose_backbones.zoo import find_name, read_models
from pose_backbones.zoo.models import without_weights

from ._measure import machine, markdown_head, markdown_row, number_of_threads, timed, write_json
from .exported import build_model
from .fusion import fill

_MMPOSE = Path(mmpose.__file__).parent / '.mim'
#: models of this package, and configs of MMPose (paths without the directory and the suffix)
NAMES = (
    'moganet-xt_coco-256x192',
    'moganet-s_coco-256x192',
    'uniformer-s_coco-256x192',
    'convnext-t_coco-256x192',
    'mspn-1stg_8xb32-210e_coco-256x192',
    'swin-t-p4-w7_coco-256x192',
)
MMPOSE_NAMES = (
    'rtmpose-s_8xb256-420e_coco-256x192',
    'rtmpose-m_8xb256-420e_coco-256x192',
    'td-hm_ViTPose-small_8xb64-210e_coco-256x192',
    'td-hm_res50_8xb64-210e_coco-256x192',
    'td-hm_hrnet-w32_8xb64-210e_coco-256x192',
)


@dataclass(frozen=True)
class Row:
    """Measurements of a model.

    Args:
        model: Name of the config.
        package: `'pose_backbones'` or `'mmpose'`.
        average_precision: AP on COCO val2017 as stated upstream, with the flip test of the config.
        flip_test: Whether that AP is with the flip test.
        seconds: Precision → seconds of each round for a batch, with normalization, the flip test
            and decoding.
        batch: Number of crops.
        threads: Number of threads.
    """

    model: str
    package: str
    average_precision: float
    flip_test: bool
    seconds: dict[str, list[float]]
    batch: int
    threads: int

    def rate(self, precision: str) -> float:
        """Return the crops per second, the median of the rounds."""
        return self.batch / statistics.median(self.seconds[precision])


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.accuracy`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.accuracy',
        description='Time exported models of this package and of MMPose in OpenVINO, in turns, and '
        'list them with the AP on COCO val2017 that is stated upstream. Weights are random. The '
        'flip test is that of the config. Boxes and images are not loaded.',
    )
    parser.add_argument('models', nargs='*', metavar='NAME', help='default: several of each')
    parser.add_argument('--precision', nargs='+', default=['fp32', 'bf16'], metavar='P')
    parser.add_argument('--batch', type=int, default=8, metavar='N', help='crops (default: 8)')
    parser.add_argument('--threads', type=int, default=2, metavar='N', help='default: 2')
    parser.add_argument('--repeat', type=int, default=5, metavar='N', help='default: 5')
    parser.add_argument('--json', metavar='FILE', help='file for all measurements')
    args = parser.parse_args(argv)
    check_counts(args, 'batch', 'threads', 'repeat')
    return args


def mmpose_models() -> dict[str, tuple[str, float]]:
    """Return the top-down models of MMPose with an AP on COCO: name → path of the config, AP."""
    found = {}
    index = yaml.safe_load((_MMPOSE / 'model-index.yml').read_text())
    for name in index['Import']:
        for model in yaml.safe_load((_MMPOSE / name).read_text()).get('Models', []):
            for result in model.get('Results', []):
                metrics = result.get('Metrics') or {}
                if result.get('Dataset') == 'COCO' and 'AP' in metrics:
                    found[Path(model['Config']).stem] = (
                        str(_MMPOSE / model['Config']),
                        float(metrics['AP']),
                    )
    return found


def build_mmpose(config: str) -> nn.Module:
    """Build a model of MMPose with random weights."""
    register_all_modules()
    MMLogger.get_instance('accuracy', log_level='ERROR')
    torch.manual_seed(0)
    cfg = without_weights(load_config(config))
    init_default_scope('mmpose')
    model = init_model(cfg, device='cpu')
    model.dataset_meta = dataset_meta_from_config(cfg)
    fill(model)
    return model.eval()


def measure(
    names: list[str], precisions: list[str], batch: int, threads: int, repeat: int
) -> list[Row]:
    """Measure exported models, which take turns.

    Args:
        names: Names of the model zoo or of configs of MMPose.
        precisions: Precisions of the exported models.
        batch: Number of crops.
        threads: Number of threads.
        repeat: Number of rounds, after one that is not measured.

    Raises:
        ConfigError: If there is no such model, or its AP is not known.
    """
    zoo, others = read_models(), mmpose_models()
    runtimes: list[tuple[Row, str, Runtime, np.ndarray]] = []
    rows = []
    with tempfile.TemporaryDirectory() as folder, number_of_threads(threads):
        for index, name in enumerate(names):
            if name in others:
                config, average_precision = others[name]
                model, package = build_mmpose(config), 'mmpose'
            else:
                name = find_name(name)
                metrics = {**zoo[name].stated.get('val2017', {}), **zoo[name].metrics}
                if 'AP' not in metrics:
                    raise ConfigError(f'the metafile of {name} has no AP: choose another model')
                average_precision = metrics['AP']
                model, package = build_model(name), 'pose_backbones'
            flip_test = bool((model.test_cfg or {}).get('flip_test'))
            row = Row(name, package, average_precision, flip_test, {}, batch, threads)
            rows.append(row)
            for precision in precisions:
                out = Path(folder, f'{index}-{precision}')
                exported, _ = export_model(model, out, 'openvino', precision)
                runtime = load_runtime('openvino', exported.path, precision, threads)
                crops = example_crops(tuple(exported.description['input_size']), batch)
                row.seconds[precision] = []
                runtimes.append((row, precision, runtime, crops))
                runtime(crops)
        for _ in range(repeat):
            for row, precision, runtime, crops in runtimes:
                row.seconds[precision].append(timed(runtime, crops)[1])
    return rows


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.accuracy`.

    Args:
        argv: Arguments; None means those of the command line.
    """
    args = parse_args(argv)
    start = machine()
    names = args.models or [*NAMES, *MMPOSE_NAMES]
    rows = measure(names, args.precision, args.batch, args.threads, args.repeat)
    titles = ['model', 'AP upstream', 'flip test']
    print(
        '\n'.join(
            markdown_head([*titles, *(f'{name}, crops per second' for name in args.precision)])
        )
    )
    for row in rows:
        rates = [f'{row.rate(name):.1f}' for name in args.precision]
        cells = [row.model, f'{100 * row.average_precision:.1f}', str(row.flip_test)]
        print(markdown_row([*cells, *rates]))
    if args.json:
        content = dict(machine=start, rows=[asdict(row) for row in rows])
        write_json(args.json, content)


if __name__ == '__main__':
    run(main)
