"""Tests of the bench itself: python3 -m unittest discover -s tests -t . (in bench/)."""
