"""Names that have changed keep working for one release, with a warning."""

import importlib

import pytest

from pose_backbones.inference.prediction_stream import Results

MOVED = [
    ('pose_backbones.convert', 'pose_backbones.checkpoints', 'convert_state_dict'),
    ('pose_backbones.convert', 'pose_backbones.checkpoints', 'inspect_state_dict'),
    ('pose_backbones.utils.checkpoint', 'pose_backbones.checkpoints', 'load_weights'),
    ('pose_backbones.utils.checkpoint', 'pose_backbones.checkpoints', 'read_checkpoint'),
    ('pose_backbones.datasets.synthetic', 'pose_backbones.synthetic', 'make_synthetic_coco'),
]


@pytest.mark.parametrize(('old', 'new', 'name'), MOVED)
def test_moved_name_is_the_same_object(old, new, name):
    module = importlib.import_module(old)
    with pytest.warns(DeprecationWarning, match=f'{old}.{name} has moved to {new}.{name}'):
        value = getattr(module, name)
    assert value is getattr(importlib.import_module(new), name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing


def test_renamed_method_of_results():
    results = object.__new__(Results)
    results.iterate_from = lambda part, index: (part, index)
    with pytest.warns(DeprecationWarning, match='since is now called iterate_from'):
        assert results.since(2, 3) == (2, 3)


def test_renamed_option_of_the_inference_benchmark():
    from benchmarks.inference import parse_args

    with pytest.warns(FutureWarning, match='--ways is now called --variants'):
        args = parse_args(['--weights', 'x', '--ways', 'mmpose'])
    assert args.variants == ['mmpose']
