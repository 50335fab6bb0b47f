"""Helpers that every package uses; no JAX program is built here."""
