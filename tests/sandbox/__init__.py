"""The sandbox's room, piece by piece, without a Docker."""
