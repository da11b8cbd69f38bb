# A convolutional network with a feature map of stride 4, so the head has no deconvolutions.
_base_ = ['../_base_/recipes/td-hm_adamw-210e_coco-256x192.py', '../_base_/models/td-hm_timm.py']

optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))

model = dict(
    backbone=dict(model_name='hrnet_w32.ms_in1k', out_indices=(1,)),
    head=dict(deconv_out_channels=None, decoder=_base_.codec),
)
