"""GitHub: context, trust and API. Only this package imports PyGithub and actions_toolkit."""
