"""What agents may do: tools, the one door to them, and the rules that say which need their owner's yes."""
