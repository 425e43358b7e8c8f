"""GitHub's side, tried against official clients where there are any."""
