"""Rules of a recipe over a row's cells and its answer, in the Common Expression Language.

`syntax` reads a rule into a tree, `shapes` says which values there are, `typing_rules` finds what
can't be right before the first row, `arithmetic` reckons exactly, `rewriting` writes
what the library gets, `rule` evaluates, and `rulebook` has all rules of a recipe.
"""
