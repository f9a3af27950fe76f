"""How good a batch's answers are, beside labels or beside another batch's answers."""
