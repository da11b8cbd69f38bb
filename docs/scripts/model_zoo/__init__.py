"""The tables and the figure of the model zoo, made from configs/*/metafile.yml."""
