"""The adapters of this machine."""
