"""The entry point of the GitHub Action: main and post."""
