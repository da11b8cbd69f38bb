"""What OpenMMLab's released packages need to run on a current PyTorch.

One module for each fault, each of which can go when the fault is mended
upstream:

- `mmcv_ops`: MMPose and MMDetection import `mmcv.ops`, which wants mmcv's
  compiled extension; with `mmcv-lite` there is none.
- `checkpoint`: PyTorch reads checkpoints with `weights_only=True` and then
  refuses those that MMEngine itself writes.
- `config`: MMEngine finds the configs that a package ships only for the
  packages that it lists.
- `metainfo`: MMPose warns that it finds the descriptions of its data sets
  where it ships them.
- `model_names`: OpenMMLab's inferencers know the models of one package by
  name.
- `swin`: MMPose's Swin Transformer does not load its ImageNet weights; mended
  when MMPose's models are imported.
"""

from . import checkpoint, config, metainfo, mmcv_ops, model_names

__all__ = ['install']


def install() -> None:
    """Put every remedy in place; calling it again changes nothing."""
    mmcv_ops.install()
    checkpoint.install()
    config.install()
    metainfo.install()
    model_names.install()
