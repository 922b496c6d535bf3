"""An extension on mpt-extension-sdk 6, audited."""
