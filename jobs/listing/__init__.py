"""Rows → chunks whose ids depend on nothing but the listing, kept as a manifest."""
