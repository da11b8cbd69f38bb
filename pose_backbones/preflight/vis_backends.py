"""Check that the packages of the logging backends of a config are installed."""

from importlib.util import find_spec

from mmengine.config import Config

from ..configs import as_list, type_name
from ..errors import ConfigError

#: type of a backend of MMEngine → modules that it imports, and the command that installs them
PACKAGES = {
    'TensorboardVisBackend': (('tensorboard',), 'pip install tensorboard'),
    'WandbVisBackend': (('wandb',), 'pip install wandb'),
    'MLflowVisBackend': (('mlflow',), 'pip install mlflow'),
    'ClearMLVisBackend': (('clearml',), 'pip install clearml'),
    'NeptuneVisBackend': (('neptune',), 'pip install neptune'),
    'DVCLiveVisBackend': (('dvclive', 'pygit2'), 'pip install dvclive pygit2'),
    'AimVisBackend': (('aim',), 'pip install aim'),
}


def check_vis_backends(cfg: Config) -> None:
    """Check that the packages of `visualizer.vis_backends` are installed.

    MMEngine imports them when the first value is logged.

    Raises:
        ConfigError: If a package is missing.
    """
    for backend in as_list((cfg.get('visualizer') or {}).get('vis_backends')):
        name = type_name(backend) if isinstance(backend, dict) else ''
        modules, command = PACKAGES.get(name, ((), ''))
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            raise ConfigError(
                f'{cfg.filename}: {name} in visualizer.vis_backends needs {missing[0]}, which is '
                f'not installed: {command}, or remove the backend'
            )
