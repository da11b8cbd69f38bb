"""A page about a test run: figures, errors, calibration, pictures.

`sources` and `reading` find and check the files; `measure` asks `coco_table`,
`precision`, `diagnosis` and `calibration`; `page` shows it all.
"""

from .page import make_report

__all__ = ['make_report']
