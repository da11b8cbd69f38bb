"""Export the models of the table of MMPose's models: `docs/mmpose_exports.json`.

Each model has random weights, and is exported to OpenVINO in fp32 in a process of its own. Models
that the file already contains are skipped, so that the script can be stopped and started again;
models that are named are exported again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pose_backbones.errors import PoseBackbonesError, first_line, shorten
from pose_backbones.utils.files import atomic_write
from pose_backbones.zoo.mmpose import read_sizes
from tests.helpers.mmpose_models import ROWS, Row

EXPORTS = Path(__file__).parents[1] / 'mmpose_exports.json'
#: share of stable keypoints below which the difference says little
MIN_STABLE = 0.05
_MAX_ERROR = 400  # characters; the message about a deviation ends with the limits


def read_exports() -> dict[str, dict | str]:
    """Return what was measured: config → largest difference in pixels, or the error.

    The difference is a dict of `pixels` and of `stable`, the share of the keypoints that were
    compared; if they are few, of the `mean` of all keypoints in place of `pixels`. See
    `pose_backbones.deploy.verification.Difference`.
    """
    return json.loads(EXPORTS.read_text(encoding='utf-8')) if EXPORTS.exists() else {}


def export(row: Row) -> dict | str:
    """Export a model with random weights, and return its entry in the file."""
    import pose_backbones
    from pose_backbones.cli.flops import input_shape
    from pose_backbones.deploy.export import export_model, make_model
    from tests.helpers.mmpose_rows import randomize

    model = pose_backbones.build(f'mmpose::{row.config}')
    with tempfile.TemporaryDirectory() as folder:
        try:
            make_model(model)
            randomize(model, row.size or input_shape(model.cfg))
            _, difference = export_model(model, Path(folder) / 'exported')
        except PoseBackbonesError as error:
            return first_line(error).partition(': expected')[0]
    values = difference.as_dict()
    if values['stable'] < MIN_STABLE:
        return {'mean': values['mean_pixels'], 'stable': values['stable']}
    return {'pixels': values['max_pixels'], 'stable': values['stable']}


def export_in_process(row: Row, limit: float) -> dict | str:
    """Call `export` in another process.

    Args:
        row: The model.
        limit: Time limit in seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / 'result.json'
        command = [sys.executable, __file__, row.config, '--result', str(result)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            return f'no result within {limit:g} s'
        if result.exists():
            return json.loads(result.read_text(encoding='utf-8'))
    return (done.stderr.strip().splitlines() or [f'exit status {done.returncode}'])[-1]


def by_cost(rows: Sequence[Row]) -> list[Row]:
    """Return the rows: bottom-up models, which only raise an error, then those with few FLOPs."""
    sizes = read_sizes()
    return sorted(rows, key=lambda row: (not row.sizes, sizes.get(row.config, {}).get('flops', 0)))


def measure(rows: Sequence[Row], limit: float, end: float) -> None:
    """Export models, and write the file after each of them.

    Args:
        rows: The models.
        limit: Time limit of each, in seconds.
        end: Time, as of `time.monotonic`, after which no further model is started.
    """
    for row in by_cost(rows):
        if time.monotonic() >= end:
            break
        result = export_in_process(row, limit)
        if isinstance(result, str):
            result = shorten(result, _MAX_ERROR)
        exports = read_exports() | {row.config: result}
        with atomic_write(EXPORTS) as draft:
            lines = [f'{json.dumps(key)}: {json.dumps(exports[key])}' for key in sorted(exports)]
            draft.write_text('{\n' + ',\n'.join(lines) + '\n}\n', encoding='utf-8')
        print(f'{row.config}: {result}', flush=True)


def main() -> None:
    """Measure the models of the command line, by default those that are not in the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='*', help='Default: all that are not in the file.')
    parser.add_argument('--limit', type=float, default=300, help='Seconds for each model.')
    parser.add_argument('--minutes', type=float, default=float('inf'), help='When to stop.')
    parser.add_argument('--result', type=Path, help='File for the result of one model.')
    args = parser.parse_args()
    rows = {row.config: row for row in ROWS}
    unknown = set(args.configs) - rows.keys()
    if unknown:
        parser.error(f'not in tests/helpers/mmpose_models.py: {", ".join(sorted(unknown))}')
    if args.result:
        (config,) = args.configs
        args.result.write_text(json.dumps(export(rows[config])), encoding='utf-8')
        return
    configs = args.configs or rows.keys() - read_exports().keys()
    end = time.monotonic() + 60 * args.minutes
    measure([rows[config] for config in configs], args.limit, end)


if __name__ == '__main__':
    main()
