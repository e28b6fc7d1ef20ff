"""trigger in, gated and published bundle out: the healing state machine."""
