"""Weights of other releases, by the names that they have here."""

from .checkpoints.conversion import Conversion, convert_state_dict, inspect_state_dict

__all__ = ['Conversion', 'convert_state_dict', 'inspect_state_dict']
