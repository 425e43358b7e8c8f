"""What was asked, made exact. Pure: no I/O, no clock, no environment."""
