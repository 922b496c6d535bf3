"""How an application captures: a logging handler, a decorator, and middleware for web applications."""
