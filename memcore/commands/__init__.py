"""The commands that are too long for ``memcore.cli``: flags, handlers, and nothing imported before it is needed."""
