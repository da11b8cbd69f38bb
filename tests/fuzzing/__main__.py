"""Coverage-guided fuzzing of a reader with atheris: `python -m tests.fuzzing --help`.

A finding does not end the run: each kind of finding is saved once. A finding that is fixed belongs
into tests/fuzzing/corpus, whose files are part of the test suite.
"""

import argparse
import json
import random
import sys
import time
import traceback
from hashlib import sha256
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit('error: fuzzing requires atheris: pip install atheris')

with atheris.instrument_imports(include=['pose_backbones']):
    from .targets import TARGETS, Target, clear, workspace

from .mutate import mutate

_SUMMARY_INTERVAL = 10.0  # seconds
_MAX_SIZE = 1 << 16  # bytes of a file


class Fuzzer:
    """Runs a target and records findings.

    Args:
        target: The target.
        folder: Directory for the files of the target.
        out: Output directory: `findings/`, and `summary.json` with the counts.
    """

    def __init__(self, target: Target, folder: Path, out: Path) -> None:
        self.target, self.folder, self.out = target, folder, out
        self.findings = out / 'findings'
        self.findings.mkdir(parents=True, exist_ok=True)
        self.others = [path.read_bytes() for path in target.files]
        self.counts = dict(files=0, read=0, refused=0, findings=0)
        self.kinds: dict[str, int] = {}
        self._start = self._last = time.monotonic()

    def run(self, content: bytes) -> None:
        """Read a file."""
        clear(self.folder)
        self.counts['files'] += 1
        try:
            message = self.target.run(content, self.folder)
        except BaseException as error:
            self._add(content, error)
        else:
            self.counts['refused' if message else 'read'] += 1
        if time.monotonic() - self._last > _SUMMARY_INTERVAL:
            self._last = time.monotonic()
            self.write_summary()

    def _add(self, content: bytes, error: BaseException) -> None:
        frames = [
            f'{Path(frame.filename).name}:{frame.lineno}'
            for frame in traceback.extract_tb(error.__traceback__)
        ]
        kind = f'{type(error).__name__} in {" ".join(frames[-3:])}'
        self.counts['findings'] += 1
        if kind not in self.kinds:
            path = self.findings / sha256(kind.encode()).hexdigest()[:12]
            path.with_suffix('.input').write_bytes(content)
            path.with_suffix('.txt').write_text(traceback.format_exc(), errors='replace')
        self.kinds[kind] = self.kinds.get(kind, 0) + 1

    def write_summary(self) -> None:
        """Write the counts."""
        content = dict(
            self.counts,
            seconds=round(time.monotonic() - self._start, 1),
            cpu_seconds=round(time.process_time(), 1),
            kinds=self.kinds,
        )
        (self.out / 'summary.json').write_text(json.dumps(content, indent=1) + '\n')

    def mutate(self, content: bytes, max_size: int, seed: int) -> bytes:
        """Change a file, by its format or as libFuzzer does."""
        rng = random.Random(seed)
        if rng.random() < 0.5:  # inputs that cover new code are often invalid at once
            content = rng.choice(self.others)
        if rng.random() < 0.2:
            return atheris.Mutate(content, max_size)
        return mutate(content, self.target.kind, rng, self.others)[:max_size]


def main() -> None:
    """Entry point of `python -m tests.fuzzing`."""
    parser = argparse.ArgumentParser(prog='python -m tests.fuzzing', description=__doc__)
    parser.add_argument('target', choices=TARGETS)
    parser.add_argument('--seconds', type=int, default=3600, metavar='N', help='default: 3600')
    parser.add_argument(
        '--out',
        required=True,
        type=Path,
        metavar='DIR',
        help='output directory: findings, summary, and the inputs that cover new code',
    )
    args = parser.parse_args()
    target = TARGETS[args.target]
    corpus = args.out / 'corpus'
    corpus.mkdir(parents=True, exist_ok=True)
    with workspace() as folder:
        fuzzer = Fuzzer(target, folder, args.out)
        options = [
            f'-max_total_time={args.seconds}',
            f'-max_len={_MAX_SIZE}',
            '-timeout=60',  # the target has a shorter limit of its own
            '-rss_limit_mb=8192',
            '-print_final_stats=1',
            '-mutate_depth=1',  # the mutations of `mutate` are enough
            f'-artifact_prefix={args.out}/',
        ]
        atheris.Setup(
            [sys.argv[0], *options, str(corpus), str(target.corpus)],
            fuzzer.run,
            custom_mutator=fuzzer.mutate,
            internal_libfuzzer=True,
        )
        atheris.Fuzz()


if __name__ == '__main__':
    main()
