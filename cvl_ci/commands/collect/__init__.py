"""Fetch the results of runs that left their machine alone with its job, and prove that it is gone."""
