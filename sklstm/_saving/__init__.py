"""How `sklstm.save` lays out a file, and what `sklstm.load` makes of one.

Nothing in a file is called by its name: names are looked up in lists, here and in what
the user trusts.
"""
