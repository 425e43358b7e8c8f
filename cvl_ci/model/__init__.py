"""How each cloud comes to know us: one file a cloud, each saying what is there, what is missing, and what to write."""
