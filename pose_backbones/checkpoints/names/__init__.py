"""Parameter names of other releases, one module for each family."""
