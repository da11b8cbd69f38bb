"""Tables and figure of the model zoo, generated from configs/*/metafile.yml."""
