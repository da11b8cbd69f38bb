"""Import modules and print, as lines of JSON, whether that works: see `doctor.probe`."""

import importlib
import importlib.metadata
import json
import re
import sys
import traceback
from pathlib import Path

# This file is run as a script; its own directory must not be searched for modules.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from pose_backbones_env import finder  # noqa: E402


def package_of(error: BaseException) -> str:
    """Return the distribution of the last module in a traceback that belongs to one.

    NumPy is skipped: it raises the errors of modules that were compiled for another version of it.
    """
    stack = error.__traceback__
    modules = [frame.f_globals.get('__name__', '') for frame, _ in traceback.walk_tb(stack)]
    # A compiled module has no frame, so the statement that imports it counts, too.
    modules += re.findall(
        r'^(?:from|import) (\w[\w.]*)', traceback.extract_tb(stack)[-1].line or ''
    )
    package = ''
    distributions = importlib.metadata.packages_distributions()
    for module in modules:
        module = module.partition('.')[0]
        # Python 3.10 does not list distributions without top_level.txt.
        name = distributions.get(module, [module])[0]
        try:
            if name and name != 'numpy' and importlib.metadata.version(name):
                package = name
        except importlib.metadata.PackageNotFoundError:
            continue
    return package


def main() -> None:
    """Import the modules whose names are the arguments."""
    finder.install()
    for module in sys.argv[1:]:
        print(json.dumps(dict(start=module)), flush=True)
        error = package = ''
        try:
            importlib.import_module(module)
        except BaseException as raised:
            lines = str(raised).strip().splitlines() or ['']
            error, package = f'{type(raised).__name__}: {lines[0]}', package_of(raised)
        print(json.dumps(dict(module=module, error=error, package=package)), flush=True)
    replacements = dict.fromkeys(finder.active(), 'in use')
    evaluation = sys.modules.get('xtcocotools.cocoeval')
    if 'xtcocotools' in replacements and evaluation is not None:
        replacements['xtcocotools'] = f'in use, with {evaluation.evaluator.__name__}'
    facts = dict(replacements=replacements)
    torch = sys.modules.get('torch')
    if torch is not None and hasattr(torch, 'cuda'):
        facts.update(cuda=torch.version.cuda, cuda_available=torch.cuda.is_available())
        if facts['cuda_available']:
            facts['gpu'] = torch.cuda.get_device_name()
        else:
            try:
                torch.cuda.init()
            except Exception as raised:
                facts['cuda_error'] = str(raised).splitlines()[0]
    print(json.dumps(facts), flush=True)


main()
