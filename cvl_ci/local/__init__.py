"""This machine: the checkout, the lease records, the terminal, the clock."""
