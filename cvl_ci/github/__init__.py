"""GitHub. The only room that imports github, actions_toolkit or requests."""
