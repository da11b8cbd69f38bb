"""Restoring the states of optimizers."""

import copy

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict

from pose_backbones.engine.optimizer_states import check_optimizer, load_optimizer


def wrapper(**settings) -> OptimWrapper:
    """Return an optimizer that has taken a step."""
    layer = torch.nn.Linear(3, 2)
    optimizer = OptimWrapper(torch.optim.Adam(layer.parameters(), lr=0.01, **settings))
    layer(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return optimizer


def test_implementation_is_that_of_the_config() -> None:
    """A checkpoint of a GPU with capturable steps can be resumed on a CPU."""
    source, target = wrapper(), wrapper(foreach=True)
    state = copy.deepcopy(source.state_dict())
    state['param_groups'][0].update(capturable=True, foreach=False, lr=0.02)
    (line,) = check_optimizer(target, state, 'file.pth', 1)
    assert line == 'optimizer lr: checkpoint 0.02, config 0.01'
    load_optimizer(target, state)
    group = target.optimizer.param_groups[0]
    assert (group['capturable'], group['foreach'], group['lr']) == (False, True, 0.02)
    assert state['param_groups'][0]['capturable'] is True
    target.step()
    for saved, loaded in zip(state['state'].values(), target.optimizer.state.values()):
        assert saved['step'] == 1
        assert loaded['step'] == 2


def test_several_optimizers() -> None:
    target = OptimWrapperDict(a=wrapper(), b=wrapper())
    state = copy.deepcopy(OptimWrapperDict(a=wrapper(), b=wrapper()).state_dict())
    state['b']['param_groups'][0]['capturable'] = True
    load_optimizer(target, state)
    for name in 'ab':
        for saved, loaded in zip(
            state[name]['state'].values(), target[name].optimizer.state.values()
        ):
            assert torch.equal(saved['exp_avg'], loaded['exp_avg'])
        assert target[name].optimizer.param_groups[0]['capturable'] is False


def test_tensors_do_not_share_storage() -> None:
    """A file may contain views of one storage, which a step would change together."""
    target = wrapper()
    state = copy.deepcopy(target.state_dict())
    shared = torch.ones(2)
    state['state'][1].update(exp_avg=shared, exp_avg_sq=shared[:1].expand(2))
    load_optimizer(target, state)
    loaded = target.optimizer.state[target.optimizer.param_groups[0]['params'][1]]
    loaded['exp_avg'][0] = 5
    loaded['exp_avg_sq'][1] = 7
    assert shared.tolist() == [1, 1]
    assert loaded['exp_avg'].tolist() == [5, 1]
    assert loaded['exp_avg_sq'].tolist() == [1, 7]
