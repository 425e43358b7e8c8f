"""The catalogue of prices: its files, its days, and the prices that are not believed."""
