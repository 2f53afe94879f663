"""Our policy against the real `supervisor` of Erlang/OTP, event by event."""
