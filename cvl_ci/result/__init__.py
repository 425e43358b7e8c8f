"""What happened, made readable. Pure."""
