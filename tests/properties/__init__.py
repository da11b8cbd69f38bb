"""Property tests: what has to hold for any valid input, checked on random inputs."""
