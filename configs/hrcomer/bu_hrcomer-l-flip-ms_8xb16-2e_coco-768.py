# The same model and training; each image is tested at three scales.
_base_ = './bu_hrcomer-l-flip_8xb16-2e_coco-768.py'

val_dataloader = dict(dataset=dict(pipeline=_base_.ms_pipeline))
test_dataloader = val_dataloader
