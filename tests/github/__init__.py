"""GitHub: held against its own rules, and against the official clients where there are any."""
