"""Export pose estimators, and run exported models."""
