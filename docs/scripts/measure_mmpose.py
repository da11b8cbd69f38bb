"""Measure the parameters and FLOPs of MMPose's models: `pose_backbones/zoo/mmpose_sizes.json`."""

import json
import logging
import sys

from mmengine.config import Config
from mmengine.logging import MMLogger

from model_zoo.measure import measure_config
from pose_backbones.cli.flops import input_shape
from pose_backbones.errors import ConfigError
from pose_backbones.utils.files import atomic_write
from pose_backbones.zoo import get_config, list_models
from pose_backbones.zoo.mmpose import SIZES


def main() -> None:
    """Write the file, and print the models that cannot be measured, such as those of 3D poses."""
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    sizes = {}
    for name in list_models(source='mmpose'):
        try:
            loaded = get_config(f'mmpose::{name}')
            # without the datasets, of which MMPose does not register all
            cfg = Config(dict(model=loaded.model, codec=loaded.get('codec')))
            shape = input_shape(cfg)
            size = measure_config(cfg)
        except (ConfigError, NotImplementedError, RuntimeError) as error:
            print(f'{name}: {str(error)[:200]}', file=sys.stderr)
            continue
        flops = size.flops + size.attention_flops
        sizes[name] = dict(input=list(shape), params=size.params, flops=flops)
    with atomic_write(SIZES) as draft:
        lines = [f'{json.dumps(name)}: {json.dumps(value)}' for name, value in sizes.items()]
        draft.write_text('{\n' + ',\n'.join(lines) + '\n}\n', encoding='utf-8')
    print(f'wrote {SIZES.name}: {len(sizes)} models')


if __name__ == '__main__':
    main()
