"""An HTML report about a test run: metrics, kinds of errors, calibration, example images.

`run_files` finds the files of the run and `results` reads them; `measures` computes the numbers,
with `poses`, `matching`, `average_precision`, `coco_table`, `diagnosis` and `calibration`;
`examples` draws images and `training` reads the training log; `view` formats it all for the
template, with `charts`; `page` renders the template and writes the page.
"""

from .page import make_report

__all__ = ['make_report']
