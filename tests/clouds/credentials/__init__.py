"""One file a cloud, as in cvl_ci/engine/credentials; and what SkyPilot itself reads of what is written."""
