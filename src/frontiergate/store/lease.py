"""The lease: how long a replica may trust a policy that it cannot confirm (DESIGN 6; P4).

States: *current* (confirmed within `seconds`) → *stale* (not confirmed in time) → current again at the next confirmation;
*regressed* (the store is behind what was enforced, or is another one) is stale until the process is restarted.
"""


class Lease:
    """Instants are monotonic: a stepped wall clock neither ends nor prolongs a lease."""

    __slots__ = ("_confirmed_at", "_regressed", "_seconds", "problem", "until")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._confirmed_at = float("-inf")
        self._regressed = False
        self.until = float("-inf")  # the monotonic instant at which it ends: what each request is held against
        self.problem: str | None = "the policy has not been confirmed yet"  # why it is not being confirmed, for health and logs

    def confirm(self, asked_at: float) -> None:
        """The store answered a question put at `asked_at`: until then, nothing newer existed."""
        if not self._regressed:
            self._confirmed_at = asked_at
            self.until = asked_at + self._seconds
            self.problem = None

    def fail(self, problem: str) -> None:
        """The policy could not be confirmed; it may be used until the lease ends."""
        if not self._regressed:
            self.problem = problem

    def regress(self, problem: str) -> None:
        """What was enforced is not in the store any more. Only an operator can tell which of the two is right."""
        self._regressed = True
        self.until = float("-inf")
        self.problem = problem

    @property
    def regressed(self) -> bool:
        return self._regressed

    def age(self, now: float) -> float:
        """Seconds since the policy was last known to be current; infinite if it never was."""
        return now - self._confirmed_at

    def stale(self, now: float) -> bool:
        return now > self.until
