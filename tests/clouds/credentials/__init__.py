"""One file a cloud, as in cvl_ci/clouds; and what SkyPilot itself reads of what is written."""
