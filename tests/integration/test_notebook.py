"""Tests of the notebook, which runs unchanged in a new kernel."""

from pathlib import Path

import nbclient
import nbformat
import pytest
import torch

import pose_backbones

NOTEBOOK = Path(__file__).parents[2] / 'demo/inference_demo.ipynb'
MODEL = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'


@pytest.fixture(scope='module')
def executed(tmp_path_factory):
    """The executed notebook, with random weights."""
    folder = tmp_path_factory.mktemp('notebook')
    model = pose_backbones.build(MODEL)
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('WEIGHTS', str(folder / 'weights.pth'))
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        nbclient.NotebookClient(
            notebook,
            timeout=300,
            kernel_name='python3',
            resources=dict(metadata=dict(path=str(NOTEBOOK.parent))),
        ).execute()
    return notebook


def outputs(notebook, kind: str) -> list:
    return [
        output
        for cell in notebook.cells
        if cell.cell_type == 'code'
        for output in cell.outputs
        if output.output_type == kind
    ]


def test_cells_have_no_errors_or_warnings(executed):
    assert not outputs(executed, 'error')
    assert not [
        output.text
        for output in outputs(executed, 'stream')
        if output.name == 'stderr' and 'Error' in output.text
    ]


def test_all_images_are_shown(executed):
    shown = [output for output in outputs(executed, 'display_data') if 'image/png' in output.data]
    assert len(shown) == 4


def test_keypoints_are_printed(executed):
    text = ''.join(output.text for output in outputs(executed, 'stream') if output.name == 'stdout')
    lines = [line.split() for line in text.splitlines()]
    joints = {
        line[0]: tuple(map(float, line[1:]))
        for line in lines
        if len(line) == 4 and line[0] in ('nose', 'left_wrist')
    }
    assert set(joints) == {'nose', 'left_wrist'}
    assert all(0 <= score <= 1 for _, _, score in joints.values())


def test_notebook_is_stored_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.outputs for cell in notebook.cells if cell.cell_type == 'code')
