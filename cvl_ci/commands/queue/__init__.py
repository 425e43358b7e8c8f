"""Run jobs that need each other, each on its own machine."""
