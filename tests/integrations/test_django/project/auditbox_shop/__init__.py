"""The application of the Django tests."""
