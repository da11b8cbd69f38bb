# Schedule of MSPN over 210 epochs, as for the released weights of MMPose.
_base_ = './adam_210e.py'

optim_wrapper = dict(optimizer=dict(lr=5e-3))
