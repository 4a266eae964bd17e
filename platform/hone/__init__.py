"""Hone's Django project: settings, accounts, audit, embedded services and the console's shell."""
