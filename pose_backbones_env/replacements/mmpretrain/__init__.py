"""Replacement of mmpretrain that has the vision transformer only.

The ViTPose configs of MMPose and the configs of Sapiens use `mmpretrain.VisionTransformer`. Names
and parameters are those of mmpretrain 1.2.0; for any other model, install mmpretrain itself:

    pip install mmpretrain==1.2.0

- `registry`: the registry of models, with the scope `mmpretrain`.
- `models`: `VisionTransformer`.
"""
