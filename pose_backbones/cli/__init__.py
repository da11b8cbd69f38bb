"""What the tools run: training, testing, launching, measuring."""
