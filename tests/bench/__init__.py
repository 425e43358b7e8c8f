"""Measurements that claims are made from; run by hand (script/bench), never part of the tests."""
