"""Many legs, one report: what each of them came to, side by side, and over the nights. Pure."""
