"""One self-contained HTML page about a test run."""

from pathlib import Path

from ..utils.files import check_output_file, replacing, saying_why
from . import error_sections as errors
from . import overview_sections as background
from . import precision_sections as precisions
from .markup import Html, count, join, tag
from .measures import Measures, measure
from .results import Run, read_run
from .run_files import Sources
from .style import style

#: nothing is loaded and nothing is run
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def make_report(
    sources: Sources, out: str, title: str | None = None, pictures: int = 6, overwrite: bool = False
) -> Measures:
    """Write a page about a test run: figures, errors, pictures.

    Args:
        sources: Files of the run, from `find_sources`.
        out: The page, an `.html` file.
        title: Of the page; None: the name of the results.
        pictures: How many of the worst and of the best images are drawn.
        overwrite: Replace a file that is there, unless it is one of the
            run's.

    Returns:
        What the page says, as numbers.

    Raises:
        DatasetError: If the files do not fit.
        WorkDirError: If `out` is there already, is one of the files of the
            run, or cannot be written.
        ValueError: If `pictures` is negative.
    """
    if pictures < 0:
        raise ValueError(f'pictures={pictures}: expected a number from 0 on')
    target = Path(out)
    check_output_file(target, '--out', sources.files, overwrite)
    run = read_run(sources)
    measures = measure(run)
    content = _page(run, measures, title or sources.results.name, pictures)
    with saying_why(target, '--out'):
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as draft:
            draft.write_text(content, encoding='utf-8', errors='surrogateescape')
    return measures


def _page(run: Run, measures: Measures, title: str, pictures: int) -> str:
    parts = {
        'table': ('Average precision', precisions.coco_section(run, measures)),
        'subsets': ('Size and labels', precisions.subsets_section(measures)),
        'joint-errors': ('Joints', errors.joints_section(run, measures)),
        'errors': ('Errors', errors.errors_section(measures)),
        'calibration': ('Scores', errors.calibration_section(measures)),
        'pictures': ('Pictures', background.pictures_section(run, measures, pictures)),
        'training': ('Training', background.training_section(run)),
        'about': ('About this page', background.about_section(run, measures)),
    }
    body = tag(
        'body',
        _header(run, title, parts),
        tag(
            'main',
            *[tag('p', note, class_='note') for note in run.notes],
            precisions.tiles(measures),
            join(
                tag(
                    'section',
                    tag('h2', name, id=f'{key}-title'),
                    content,
                    id=key,
                    aria_labelledby=f'{key}-title',
                )
                for key, (name, content) in parts.items()
            ),
        ),
    )
    return f'<!DOCTYPE html>\n{tag("html", _head(title), body, lang="en")}\n'


def _head(title: str) -> Html:
    return tag(
        'head',
        Html(
            '<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, '
            'initial-scale=1">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
            '<link rel="icon" href="data:,">'
        ),
        tag('title', title),
        tag('style', Html(style())),
    )


def _header(run: Run, title: str, parts: dict[str, tuple]) -> Html:
    images = len(run.truth['images'])
    return tag(
        'header',
        tag('h1', title),
        tag(
            'p',
            f'{count(len(run.results), "prediction")} in '
            f'{count(images, "image")}, '
            f'{count(len(run.sigmas), "key point")} each',
            class_='soft',
        ),
        tag(
            'nav',
            tag(
                'ul',
                *[tag('li', tag('a', name, href=f'#{key}')) for key, (name, _) in parts.items()],
            ),
            aria_label='Parts of the page',
        ),
    )
