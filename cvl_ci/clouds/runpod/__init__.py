"""RunPod: credentials and inventory."""
