"""What a pull request shows: the sticky comment and the issue."""
