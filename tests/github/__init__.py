"""What GitHub's side of a run does, held against GitHub's own rules."""
