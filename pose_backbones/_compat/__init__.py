"""Patches that released OpenMMLab packages need to work with current PyTorch and this package.

Each module works around one problem and can be deleted when the problem is fixed upstream:

- `ae_codec`, `ae_head`: MMPose cannot train models with associative embedding.
- `albumentation`: MMPose's `Albumentation` transform was written for albumentations 1.
- `bfloat16_outputs`: MMPose converts outputs to NumPy, which has no bfloat16.
- `checkpoint_loading`: PyTorch loads checkpoints with `weights_only=True`, which rejects the
  checkpoints that MMEngine writes.
- `config_names`: MMEngine finds the configs of a package by name only for a fixed list of packages,
  and does not find the base configs in pure Python that pip installs.
- `edpose_initialization`: MMPose's ED-Pose raises an error when its weights are initialized.
- `js_gradient`: the gradients of MMPose's loss of DSNT are NaN.
- `metainfo`: MMPose issues a warning when it reads the dataset descriptions that it ships.
- `model_names`: OpenMMLab's inferencers look up model names in a single package.
- `mlflow_backend`: MLflow rejects the default store, and names of metrics, of MMEngine's backend.
- `mmcv_operators`: MMEngine looks for mmcv's operators with a function that Python 3.14 removed.
- `mmpose_registry`: registers the modules of this package in MMPose's registry, unless MMPose uses
  the same name.
- `packed_labels`: MMPose's config of YOLOX-Pose-tiny uses an argument that does not exist.
- `swin_windows`: MMPose's Swin cannot be exported with a variable batch size.
- `udp_accuracy`: MMPose raises an error when UDP models with offsets are trained.
- `visualizer_circles`: MMPose's visualizer converts an array to an integer, an error in NumPy 2.5.

Replacements of missing packages are in `pose_backbones_env`.

`pose_backbones/__init__.py` passes the functions that the patches need to their `install`
functions. A patch of a module that imports PyTorch is installed when the module has been imported.
"""
