"""Official clients and servers, as npm packages, and a front of the results service as strict as the real one."""
