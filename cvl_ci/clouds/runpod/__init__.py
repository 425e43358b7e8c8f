"""RunPod: inventory."""
