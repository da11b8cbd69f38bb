# MSPN for 210 epochs, as MMPose's released weights were trained.
_base_ = './adam_210e.py'

optim_wrapper = dict(optimizer=dict(lr=5e-3))
