"""Write the report of a test run as one self-contained HTML page."""

import re
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..utils.files import atomic_write, check_output_file, convert_write_errors
from . import charts
from .examples import draw_examples
from .measures import Measures, measure
from .results import read_run
from .run_files import Sources
from .training import read_log
from .view import build_view


def make_report(
    sources: Sources, out: str, title: str | None = None, examples: int = 6, overwrite: bool = False
) -> Measures:
    """Write a page about a test run: metrics, kinds of errors, calibration, example images.

    Args:
        sources: Files of the run, from `find_sources`.
        out: Path of the page, an `.html` file.
        title: Title of the page (default: the name of the results file).
        examples: How many of the worst and how many of the best images to draw.
        overwrite: Replace an existing file, unless it is one of the run's files.

    Returns:
        The measures that the page shows.

    Raises:
        DatasetError: If the files do not fit together.
        WorkDirError: If `out` exists, is one of the files of the run, or cannot be written.
        ValueError: If `examples` is negative.
    """
    if examples < 0:
        raise ValueError(f'examples={examples}: expected a number of at least 0')
    check_output_file(out, '--out', sources.files, overwrite)
    run = read_run(sources)
    measures = measure(run)
    drawn = draw_examples(run, measures, examples)
    training = read_log(sources.logs)
    view = build_view(run, measures, drawn, training, title or sources.results.name)
    _write(Path(out), render(view))
    return measures


def render(view: dict) -> str:
    """Render the page.

    Args:
        view: Variables of the template, from `build_view`.

    Returns:
        The HTML, with the style sheet in it. All text is escaped.
    """
    environment = Environment(
        loader=PackageLoader('pose_backbones.report'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals['charts'] = charts
    return environment.get_template('report.html.j2').render(view).lstrip()


def _encodable(text: str) -> str:
    """Escape halves of surrogate pairs, which JSON can contain, such as "\\ud800".

    Those from U+DC80 are bytes of names of files that are not UTF-8, which keep their bytes.
    """
    return re.sub('[\ud800-\udc7f\udd00-\udfff]', lambda match: ascii(match[0])[1:-1], text)


def _write(path: Path, html: str) -> None:
    with convert_write_errors(path, '--out'):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as draft:
            draft.write_text(_encodable(html), encoding='utf-8', errors='surrogateescape')
