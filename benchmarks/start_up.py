"""Benchmark of start-up: the interpreter, the import, the commands, inference on one image.

Each variant runs in new processes, in turns with the others. The tables have the least time of all
rounds, since other work on the machine can only add to it. The time of the processor in user mode
depends less on other work than the time on the clock. The column "ours" is the processor time in
addition to that of the row which does the same with other packages only.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.errors import ConfigError
from pose_backbones_env import finder

from ._measure import markdown_head, markdown_row, median_ratio, milliseconds, write_json

FINDER = 'import pose_backbones_env.finder; pose_backbones_env.finder.install()'
#: content of the file in the environment of each variant
VARIANTS = {'without': '', 'with': FINDER}
#: MMPose and MMEngine without `pose_backbones`
_ALONE = f'{FINDER}; pose_backbones_env.finder.PATCHED = ()\n'
_COMMAND = (
    'import sys; from pose_backbones_env.command import main\n'
    "sys.argv = ['pose-backbones', *{arguments}]; main()"
)
#: MMPose's config of a small model
_CONFIG = 'td-hm_mobilenetv2_8xb64-210e_coco-256x192.py'
#: a small model of this package
_MODEL = 'td-hm_moganet-xt_1xb8-demo_coco-128x96'
_PREPARE = """
import cv2, numpy as np, torch
from pose_backbones import build
from mmpose.apis import init_model
torch.save({{'state_dict': init_model({config!r}, device='cpu').state_dict()}}, {weights!r})
torch.save({{'state_dict': build({model!r}).state_dict()}}, {own_weights!r})
cv2.imwrite({image!r}, np.random.default_rng(0).integers(0, 256, (256, 192, 3), np.uint8))
"""


@dataclass(frozen=True)
class Task:
    """What a process does.

    Args:
        code: Python code.
        base: Name of the task that does the same with other packages only; None for such a task
            itself.
    """

    code: str
    base: str | None = None


#: tasks of the part `import`
IMPORTS = {
    'import mmengine.registry, mmengine.config': Task(
        f'{_ALONE}import mmengine.registry, mmengine.config'
    ),
    'import pose_backbones': Task(
        'import pose_backbones', 'import mmengine.registry, mmengine.config'
    ),
    'import torch, mmengine.runner, mmpose.registry': Task(
        f'{_ALONE}import torch, mmengine.runner, mmpose.registry'
    ),
    'the same, and pose_backbones': Task(
        'import pose_backbones, torch, mmengine.runner, mmpose.registry',
        'import torch, mmengine.runner, mmpose.registry',
    ),
}
#: tasks of the part `commands`
COMMANDS = {
    'python -c pass': Task('pass'),
    **{
        f'pose-backbones {arguments}': Task(
            _COMMAND.format(arguments=arguments.split()), 'python -c pass'
        )
        for arguments in ('--help', 'infer --help', 'train --help', 'infer --no-such-option')
    },
}


def inference(folder: Path) -> dict[str, Task]:
    """Return the tasks of the part `inference`, and write their files.

    Args:
        folder: Directory for the files.
    """
    spec = finder._find_real('mmpose', None)
    if spec is None or spec.origin is None:
        raise ConfigError('mmpose is not installed; the part inference measures it')
    configs = Path(spec.origin).parent / '.mim/configs/body_2d_keypoint/topdown_heatmap/coco'
    files = dict(
        config=str(configs / _CONFIG),
        weights=str(folder / 'weights.pth'),
        model=_MODEL,
        own_weights=str(folder / 'own_weights.pth'),
        image=str(folder / 'image.jpg'),
    )
    run_code(_PREPARE.format(**files), Path(finder.__file__).parents[1])
    config, weights, own, image = (
        files[name] for name in ('config', 'weights', 'own_weights', 'image')
    )
    use = 'from pose_backbones import PoseInferencer\nlist(PoseInferencer({!r}, {!r})({!r}))'
    arguments = ['infer', image, '--model', config, '--weights', weights, '--draw', 'none', '--out']
    # Each round needs a new directory.
    directory = f'import tempfile; out = tempfile.mkdtemp(dir={str(folder)!r})\n'
    bare = 'init_model, inference_topdown'
    return {
        bare: Task(
            f'{_ALONE}from mmpose.apis import init_model, inference_topdown\n'
            f"inference_topdown(init_model({config!r}, {weights!r}, device='cpu'), {image!r})"
        ),
        'PoseInferencer': Task(use.format(config, weights, image), bare),
        'pose-backbones infer': Task(
            directory + _COMMAND.format(arguments=f'{arguments!r}, out'), bare
        ),
        'PoseInferencer, a MogaNet': Task(use.format(_MODEL, own, image), bare),
    }


#: name of a part → its tasks, from a directory for files
PARTS: dict[str, Callable[[Path], Mapping[str, Task]]] = {
    'import': lambda folder: IMPORTS,
    'commands': lambda folder: COMMANDS,
    'inference': inference,
}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.start_up`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.start_up',
        description='Time new processes: the start of the interpreter with and without the finder, '
        'imports, commands, and inference on one image.',
    )
    parser.add_argument(
        'parts', nargs='*', metavar='PART', help=f'finder, {", ".join(PARTS)}; default: all'
    )
    parser.add_argument(
        '--rounds', type=int, metavar='N', help='default: 200 for the finder, 5 for the other parts'
    )
    parser.add_argument(
        '--other',
        type=Path,
        metavar='DIR',
        help='checkout of another version of the project, which is measured in turns',
    )
    parser.add_argument('--json', metavar='FILE', help='file for all measurements')
    args = parser.parse_args(argv)
    for part in args.parts:
        if part not in ('finder', *PARTS):
            parser.error(f'PART {part}: expected finder, {", ".join(PARTS)}')
    return args


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.start_up`.

    Args:
        argv: Arguments; None means those of the command line.
    """
    args = parse_args(argv)
    if args.rounds is not None:
        check_counts(args, 'rounds')
    if args.other is not None and not (args.other / 'pose_backbones/__init__.py').is_file():
        raise ConfigError(f'--other {args.other}: expected a directory with pose_backbones/')
    parts = args.parts or ['finder', *PARTS]
    if 'finder' in parts:
        print_finder(args.rounds or 200)
    content = {}
    for part in PARTS:
        if part in parts:
            content[part] = print_part(part, args.rounds or 5, args.other)
    if args.json is not None:
        write_json(args.json, content)


def print_finder(rounds: int) -> None:
    """Print the time in which interpreters start with and without the finder."""
    seconds = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        interpreters = {name: make_environment(Path(folder, name), name) for name in VARIANTS}
        for _ in range(rounds):
            for name, python in interpreters.items():
                seconds[name].append(measure(python))
    print('\n'.join(markdown_head(['finder', 'start in ms', 'relative'])))
    for name, times in seconds.items():
        ratio = median_ratio(times, seconds['without'])
        print(markdown_row([name, milliseconds(times, 2), f'{ratio:.2f}']))


def make_environment(folder: Path, variant: str) -> Path:
    """Create an environment whose `site-packages` has the `.pth` file, and return its interpreter.

    Args:
        folder: Directory of the environment.
        variant: One of `VARIANTS`.
    """
    venv.create(folder)
    (packages,) = folder.glob('lib/python*/site-packages')
    root = os.path.dirname(os.path.dirname(finder.__file__))
    # In both variants, the directory is searched for modules.
    (packages / 'directory.pth').write_text(f'{root}\n')
    (packages / 'pose_backbones.pth').write_text(f'{VARIANTS[variant]}\n')
    return folder / 'bin/python'


def measure(python: Path, code: str = 'pass') -> float:
    """Return the time in seconds in which an interpreter starts, runs the code and ends."""
    start = time.perf_counter()
    subprocess.run([python, '-I', '-c', code], check=True)
    return time.perf_counter() - start


def print_part(part: str, rounds: int, other: Path | None) -> dict[str, dict[str, list]]:
    """Measure the tasks of a part, print a table, and return all times.

    Args:
        part: A key of `PARTS`.
        rounds: How often each task runs, after a first time that does not count.
        other: Directory of another version of the project, or None.

    Returns:
        Name of a version → name of a task → (user, wall) times in seconds.
    """
    versions = {'this version': Path(finder.__file__).parents[1]}
    if other is not None:
        versions['other version'] = other.resolve()
    times: dict[str, dict[str, list]] = {name: {} for name in versions}
    with tempfile.TemporaryDirectory() as folder:
        tasks = PARTS[part](Path(folder))
        for _ in range(rounds + 1):
            for task, value in tasks.items():
                for version, root in versions.items():
                    times[version].setdefault(task, []).append(run_code(value.code, root))
    titles = [part]
    for version in versions:
        titles += [f'{version}: user s', 'wall s', 'ours: user s']
    print('\n' + '\n'.join(markdown_head(titles)))
    for task, value in tasks.items():
        row = [task]
        for entries in times.values():
            user, wall = least(entries[task])
            ours = '' if value.base is None else f'{user - least(entries[value.base])[0]:.2f}'
            row += [f'{user:.2f}', f'{wall:.2f}', ours]
        print(markdown_row(row))
    return times


def least(times: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the least user and wall time of all rounds but the first, which compiles modules."""
    return min(user for user, _ in times[1:]), min(wall for _, wall in times[1:])


def run_code(code: str, root: Path) -> tuple[float, float]:
    """Run code in a new process, and return its user and wall time in seconds.

    Args:
        code: Python code.
        root: Directory of the project.
    """
    environment = {**os.environ, 'PYTHONPATH': str(root)}
    environment.pop('PYTHONDONTWRITEBYTECODE', None)
    environment.setdefault('OMP_NUM_THREADS', '1')
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - start
    if done.returncode not in (0, 2):  # 2: a wrong option
        raise RuntimeError(f'{code}\nended with status {done.returncode}: {done.stderr}')
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before, wall


if __name__ == '__main__':
    run(main)
