"""A whole cloud that no provider offers: what a folder of `cvl_ci/clouds/` has to hold, and no more."""
