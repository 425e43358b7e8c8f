"""Numbers: what a run measured, what it is compared with, and whether the difference is more than noise. Pure."""
