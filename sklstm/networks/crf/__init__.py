"""Conditional random fields over chains of labels."""
