"""Generate the tables and the figure of the model zoo: see `--help`."""

import argparse
from pathlib import Path

from model_zoo import figure
from model_zoo.documents import family_readme, model_zoo, replace_summary
from model_zoo.measure import measure_families
from pose_backbones.cli.entry_point import run
from pose_backbones.errors import ConfigError
from pose_backbones.utils.files import atomic_write, convert_write_errors
from pose_backbones.zoo import read_families

_ROOT = Path(__file__).parents[2]


def documents(root: Path) -> dict[Path, str]:
    """Generate the text of all documents from the metafiles, without writing files.

    Args:
        root: Root directory of the repository.

    Returns:
        Path → text of the document.
    """
    families = read_families(root / 'configs')
    readme = root / 'README.md'
    texts = {family.path.with_name('README.md'): family_readme(family, root) for family in families}
    texts[root / 'docs/model_zoo.md'] = model_zoo(families)
    texts[readme] = replace_summary(readme.read_text(encoding='utf-8'), families)
    return texts


def stale(root: Path) -> list[Path]:
    """Return the documents that are out of date with the metafiles.

    Args:
        root: Root directory of the repository.

    Returns:
        The paths of the documents.
    """
    paths = [
        path
        for path, text in documents(root).items()
        if not path.is_file() or path.read_text(encoding='utf-8') != text
    ]
    data = figure.points(read_families(root / 'configs'))
    image = root / 'docs/model_zoo.png'
    if figure.shown_digest(image) != figure.digest(data):
        paths.append(image)
    return paths


def make(root: Path) -> list[Path]:
    """Write the documents that are out of date.

    Args:
        root: Root directory of the repository.

    Returns:
        The paths of the written documents.
    """
    written = stale(root)
    texts = documents(root)
    for path in written:
        with convert_write_errors(path, ''), atomic_write(path) as draft:
            if path in texts:
                draft.write_text(texts[path], encoding='utf-8')
            else:
                figure.draw(figure.points(read_families(root / 'configs')), draft)
    return written


def main(argv: list[str] | None = None, root: Path = _ROOT) -> None:
    """Generate the documents of the model zoo.

    Args:
        argv: Command-line arguments. Default: `sys.argv[1:]`.
        root: Root directory of the repository.

    Raises:
        ConfigError: If `--check` is set and a document is out of date, or the arguments are
            invalid.
    """
    parser = argparse.ArgumentParser(
        prog='make_model_zoo.py',
        description='Generate the README of each family, docs/model_zoo.md, its figure, and the '
        'table in README.md from configs/*/metafile.yml.',
    )
    parser.add_argument(
        '--measure',
        action='store_true',
        help='first measure the parameters and FLOPs of every model, and write them to the '
        'metafiles',
    )
    parser.add_argument(
        '--check', action='store_true', help='write no files; fail if a document is out of date'
    )
    args = parser.parse_args(argv)
    if args.check and args.measure:
        raise ConfigError('--check and --measure exclude each other: --check writes no files')
    if not (root / 'model-index.yml').is_file():
        raise ConfigError(f'{root} has no model-index.yml: expected a checkout of the repository')
    if args.check:
        paths = stale(root)
        if paths:
            names = ', '.join(str(path.relative_to(root)) for path in paths)
            raise ConfigError(f'out of date: {names}: run python docs/scripts/make_model_zoo.py')
        print('all documents are up to date')
        return
    if args.measure:
        print(
            '\n'.join(measure_families(read_families(root / 'configs'))) or 'no value has changed'
        )
    for path in make(root):
        print(f'wrote {path.relative_to(root)}')


if __name__ == '__main__':
    run(main)
