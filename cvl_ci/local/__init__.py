"""This computer: the checkout, the lease records, the terminal, the clock."""
