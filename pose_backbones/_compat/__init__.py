"""Patches of released OpenMMLab packages, which they need with a current PyTorch.

One module for each fault; it can be deleted when the fault is fixed upstream:

- `mmcv_ops`: MMPose and MMDetection import `mmcv.ops`, which needs mmcv's compiled extension;
  `mmcv-lite` has none.
- `checkpoint_loading`: PyTorch loads checkpoints with `weights_only=True`, which refuses those
  that MMEngine writes.
- `config_names`: MMEngine finds configs that a package ships only for the packages it lists.
- `metainfo`: MMPose warns that it finds the descriptions of its data sets where it ships
  them.
- `model_names`: OpenMMLab's inferencers know the models of one package by name.
- `mmpose_registry`: registers the modules of this package in MMPose, where their names are free.

The modules import nothing of the package but `errors`; `pose_backbones/__init__.py` passes them
the functions that they need.
"""
