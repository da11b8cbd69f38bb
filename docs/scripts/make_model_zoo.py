"""Write the tables and the figure of the model zoo: see `--help`."""

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
    """Make every text from the metafiles, and write none.

    Args:
        root: Of the repository.

    Returns:
        Path → what should stand there.
    """
    families = read_families(root / 'configs')
    readme = root / 'README.md'
    texts = {family.path.with_name('README.md'): family_readme(family, root) for family in families}
    texts[root / 'docs/model_zoo.md'] = model_zoo(families)
    texts[readme] = replace_summary(readme.read_text(encoding='utf-8'), families)
    return texts


def stale(root: Path) -> list[Path]:
    """Which documents do not show what the metafiles say.

    Args:
        root: Of the repository.

    Returns:
        Their paths.
    """
    found = [
        path
        for path, text in documents(root).items()
        if not path.is_file() or path.read_text(encoding='utf-8') != text
    ]
    data = figure.points(read_families(root / 'configs'))
    image = root / 'docs/model_zoo.png'
    if figure.shown_digest(image) != figure.digest(data):
        found.append(image)
    return found


def make(root: Path) -> list[Path]:
    """Write the documents that are stale.

    Args:
        root: Of the repository.

    Returns:
        What was written.
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
    """Entry point of `docs/scripts/make_model_zoo.py`; `root` is the repository."""
    parser = argparse.ArgumentParser(
        prog='make_model_zoo.py',
        description='Make the README of each family, docs/model_zoo.md, its '
        "picture and the README's table from configs/*/metafile.yml.",
    )
    parser.add_argument(
        '--measure',
        action='store_true',
        help="first count every model's parameters and FLOPs anew and write "
        'them into the metafiles',
    )
    parser.add_argument(
        '--check', action='store_true', help='write nothing; fail if a document is stale'
    )
    args = parser.parse_args(argv)
    if args.check and args.measure:
        raise ConfigError('--check writes nothing, --measure does: give one')
    if not (root / 'model-index.yml').is_file():
        raise ConfigError(f'{root} is not the repository: run this in a checkout')
    if args.check:
        paths = stale(root)
        if paths:
            names = ', '.join(str(path.relative_to(root)) for path in paths)
            raise ConfigError(f'stale: {names}; run python docs/scripts/make_model_zoo.py')
        print('every document shows what the metafiles say')
        return
    if args.measure:
        print(
            '\n'.join(measure_families(read_families(root / 'configs'))) or 'no figure has changed'
        )
    for path in make(root):
        print(f'written: {path.relative_to(root)}')


if __name__ == '__main__':
    run(main)
