"""Several models whose maps are averaged."""
