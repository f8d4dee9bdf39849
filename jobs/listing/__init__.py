"""Rows → chunks whose ids depend on the listing alone, kept as a manifest."""
