"""The query language of the platform (RQL): parsing, and compiling to SQL with bound values."""
