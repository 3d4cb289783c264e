"""The dashboard: reads a results folder, filters, reshapes and draws it, and computes nothing new.

``create_app`` makes the application, ``serve`` shows it to this machine.
"""

from dashboard.app import create_app, serve

__all__ = ["create_app", "serve"]
