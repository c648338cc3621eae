"""Checks of a governed environment: one module per check, which collects facts and judges them."""
