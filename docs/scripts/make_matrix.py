"""Record a run of the test suite, and generate the table of docs/compatibility.md: see `--help`."""

import argparse
import json
import platform
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

from pose_backbones_env import finder

_DOCS = Path(__file__).parents[1]
RECORDS = _DOCS / 'compatibility.json'
PAGE = _DOCS / 'compatibility.md'
BEGIN, END = '<!-- matrix -->', '<!-- /matrix -->'
#: sessions of noxfile.py, in the order of the table
SESSIONS = ('newest-3.14', 'newest-3.13', 'newest-3.12', 'previous', 'oldest', 'compiled')
COLUMNS = 'session Python torch NumPy mmcv xtcocotools passed failed skipped'.split()


def environment() -> dict[str, str]:
    """Return the versions of the running environment, as in the table."""
    versions = dict(
        Python=platform.python_version(),
        torch=metadata.version('torch'),
        NumPy=metadata.version('numpy'),
    )
    finder.install()
    import mmcv
    from xtcocotools import cocoeval

    operators = 'lite' if 'mmcv._ext' in finder.active() else 'with operators'
    versions['mmcv'] = f'{mmcv.__version__} {operators}'
    evaluator = getattr(cocoeval, 'evaluator', None)
    versions['xtcocotools'] = (
        f'replacement ({evaluator.__name__} {metadata.version(evaluator.__name__)})'
        if evaluator
        else metadata.version('xtcocotools')
    )
    return versions


def read_junit(path: Path) -> dict:
    """Return the numbers of tests in pytest's JUnit file, and the reasons of skipped tests."""
    (suite,) = ElementTree.parse(path).getroot().iter('testsuite')
    counts = {name: int(suite.get(name)) for name in ('tests', 'failures', 'errors', 'skipped')}
    failed = counts['failures'] + counts['errors']
    reasons = Counter(skip.get('message', '') for skip in suite.iter('skipped'))
    return dict(
        passed=counts['tests'] - failed - counts['skipped'],
        failed=failed,
        skipped=counts['skipped'],
        seconds=round(float(suite.get('time'))),
        date=suite.get('timestamp', '')[:10],
        reasons=dict(sorted(reasons.items())),
    )


def record(junit: Path) -> dict:
    """Write the record of a run next to its JUnit file."""
    entry = dict(session=junit.stem, **environment(), **read_junit(junit))
    junit.with_suffix('.json').write_text(json.dumps(entry, indent=1) + '\n')
    return entry


def table(entries: dict[str, dict]) -> str:
    """Return the table in Markdown.

    Args:
        entries: Session → its record. Sessions without one are listed as not run.
    """
    lines = ['| ' + ' | '.join(COLUMNS) + ' |', '| --- ' * len(COLUMNS) + '|']
    for session in SESSIONS:
        entry = entries.get(session, dict(session=session, passed='not run'))
        lines.append('| ' + ' | '.join(str(entry.get(name, '')) for name in COLUMNS) + ' |')
    return '\n'.join(lines)


def page(text: str, entries: dict[str, dict]) -> str:
    """Return the text of the page with the table between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f'{before}{BEGIN}\n\n{table(entries)}\n\n{END}{after}'


def read_records() -> dict[str, dict]:
    """Return session → record, from docs/compatibility.json."""
    entries = json.loads(RECORDS.read_text()) if RECORDS.is_file() else []
    return {entry['session']: entry for entry in entries}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    recorded = commands.add_parser('record', help='write the record of a run of this environment')
    recorded.add_argument('junit', type=Path, help="pytest's JUnit file, named after the session")
    collected = commands.add_parser('table', help='add records to the page')
    collected.add_argument('records', type=Path, nargs='*', help='.nox/matrix/*.json')
    arguments = parser.parse_args()
    if arguments.command == 'record':
        entry = record(arguments.junit)
        print(table({entry['session']: entry}))
        sys.exit(bool(entry['failed']))
    entries = read_records()
    for path in arguments.records:
        entry = json.loads(path.read_text())
        entries[entry['session']] = entry
    if unknown := set(entries) - set(SESSIONS):
        parser.error(f'no session of the table: {", ".join(sorted(unknown))}')
    ordered = [entries[session] for session in SESSIONS if session in entries]
    RECORDS.write_text(json.dumps(ordered, indent=1) + '\n')
    PAGE.write_text(page(PAGE.read_text(), entries))


if __name__ == '__main__':
    main()
