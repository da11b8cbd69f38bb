# A plain vision transformer at a non-square size: one feature map of stride 16, so the head has two
# deconvolutions.
_base_ = ['../_base_/recipes/td-hm_adamw-210e_coco-256x192.py', '../_base_/models/td-hm_timm.py']

optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0))

model = dict(
    backbone=dict(
        model_name='vit_small_patch16_224.augreg_in21k_ft_in1k',
        img_size=(256, 192),
        out_indices=(11,),
    ),
    head=dict(deconv_out_channels=(256, 256), deconv_kernel_sizes=(4, 4), decoder=_base_.codec),
)
