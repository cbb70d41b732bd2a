"""The lease: how long a replica may trust a policy that it cannot confirm (DESIGN 6; P4; decision 0017).

    unknown ── a policy is there ──→ unconfirmed ←── `seconds` without confirmation ── current
                                         └──────────────── confirmed ────────────────────↑
    doubted: the store went back behind what is enforced, or the clock is wrong; from anywhere, until confirmed

All requests are refused in *unknown* and *doubted*. In *unconfirmed* those for models that are configured so (`on_stale: serve`) are
judged by the policy that was known last.
"""


class Lease:
    """Instants are monotonic: a stepped wall clock neither ends nor prolongs a lease."""

    __slots__ = ("_confirmed_at", "doubted", "known", "problem", "regressed", "seconds", "until")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._confirmed_at = float("-inf")
        self.until = float("-inf")  # the monotonic instant at which it ends: what each request is held against
        self.known = False  # a policy was loaded
        self.doubted = False
        self.regressed = False  # doubted, as the store went back
        self.problem: str | None = "the policy has not been confirmed yet"  # why it is not being confirmed, for health and logs

    def confirm(self, asked_at: float) -> None:
        """The store answered a question put at `asked_at`: until then, nothing newer existed."""
        self._confirmed_at = max(self._confirmed_at, asked_at)
        self.until = self._confirmed_at + self.seconds
        self.known, self.problem = True, None
        self.doubted = self.regressed = False

    def fail(self, problem: str) -> None:
        """The policy could not be confirmed; it may be used until the lease ends. What was doubted stays so, and why."""
        if not self.doubted:
            self.problem = problem

    def doubt(self, problem: str) -> None:
        """What is known cannot be the policy to go by: nobody is admitted on it."""
        self.until = float("-inf")
        self.doubted, self.regressed, self.problem = True, False, problem

    def regress(self, problem: str) -> None:
        """The store went back behind what is enforced here."""
        self.doubt(problem)
        self.regressed = True

    def age(self, now: float) -> float:
        """Seconds since the policy was last known to be current; infinite if it never was."""
        return now - self._confirmed_at

    def stale(self, now: float) -> bool:
        return now > self.until

    @property
    def servable(self) -> bool:
        """Whether the policy known last may be gone by though the lease is over, where the configuration says so."""
        return self.known and not self.doubted
