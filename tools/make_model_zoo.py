"""Generate the tables and the figure of the model zoo: see `--help`."""

from _moved import run_script

if __name__ == '__main__':
    run_script('docs/scripts/make_model_zoo.py')
