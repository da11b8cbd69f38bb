"""What several parts of the package share: errors, files, names."""
