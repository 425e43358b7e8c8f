"""The verb `deploy` of a workflow: one service of an environment takes the place of another."""
