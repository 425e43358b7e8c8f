"""An AWS on your own Docker: an emulated API whose instances are containers. Knows nothing of the other rooms."""
