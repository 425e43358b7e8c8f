"""What happened, made readable."""
