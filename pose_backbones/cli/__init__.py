"""Command-line tools: training, testing, inference, reports, conversion, measurements."""
