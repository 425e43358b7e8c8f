"""The clouds. The only room that imports sky or a cloud SDK."""
