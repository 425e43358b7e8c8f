"""The doors of cvl-ci: a command line, a GitHub Action, a library. Nothing inside the package imports this file."""
