# AdamW with a learning rate of 5e-4 and a weight decay of 0.01; otherwise as adam_210e.
_base_ = './adam_210e.py'

optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=5e-4, weight_decay=0.01))
