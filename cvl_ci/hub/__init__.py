"""The Hugging Face hub, through its own client. Only this package imports it, when it is necessary."""
