"""What the demo shows: a policy, and requests with what the policy says each one gets."""

from __future__ import annotations

from dataclasses import dataclass, field

LARGE_BODY = 1 << 20
"""Bytes of the answer to GET /report, large enough to see in the byte counters."""


@dataclass(frozen=True, slots=True)
class Row:
    """One request and what is expected of it.

    ``status`` is what the client gets, None where it must not get a connection. ``answered_by``
    is the server that answers; None for the proxy itself. ``reason`` and ``rule`` are what
    ``explain`` and the access log must name. ``direct`` marks a request that no rule concerns.
    """

    title: str
    client: str
    server: str
    method: str
    target: str
    status: int | None
    answered_by: str | None
    reason: str
    rule: str | None = None
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = field(default=())
    direct: bool = False

    @property
    def request(self) -> str:
        """Method and target, for people."""
        return f"{self.method} {self.target}"

    @property
    def expected(self) -> str:
        """The outcome that the policy asks for, for people."""
        if self.status is None:
            return "refused"
        return f"{self.status} {self.answered_by or ''}".rstrip()


def policy_text(users_port: int, auth_port: int) -> str:
    """The policy of the demo."""
    return f"""\
apiVersion: l7proxy.io/v1alpha1
kind: L7Policy
metadata: {{name: users-api}}
spec:
  endpointSelector: {{matchLabels: {{app: users}}}}
  ingress:
  - fromEndpoints: [{{matchLabels: {{app: frontend}}}}]
    toPorts:
    - ports: [{{port: "{users_port}", protocol: TCP}}]
      rules:
        http:
        - {{name: read-users, method: GET, path: "/users(/.*)?"}}
        - name: login
          method: POST
          path: /login
          action: forward
          forward: {{endpoints: {{matchLabels: {{app: auth}}}}, port: {auth_port}}}
        - {{name: no-root, path: "/users/root([/?].*)?", action: block}}
"""


def _allowed(title: str, target: str) -> Row:
    return Row(
        title, "frontend", "users", "GET", target, 200, "users", "rule-allowed", "read-users"
    )


def _blocked(title: str, target: str) -> Row:
    return Row(title, "frontend", "users", "GET", target, 403, None, "rule-blocked", "no-root")


def _unmatched(title: str, method: str, target: str) -> Row:
    return Row(title, "frontend", "users", method, target, 403, None, "no-rule-matched")


ROWS: tuple[Row, ...] = (
    _allowed("allowed by a rule", "/users"),
    _allowed("the same rule, a longer path", "/users/7"),
    Row(
        "forwarded to another server",
        "frontend",
        "users",
        "POST",
        "/login",
        200,
        "auth",
        "rule-forwarded",
        "login",
        body=b"user=alice",
    ),
    _blocked("a block rule beats the allow", "/users/root"),
    _unmatched("no rule for the method", "DELETE", "/users"),
    _unmatched("no rule for the path", "GET", "/admin"),
    _unmatched("dot segments are resolved first", "GET", "/users/../admin"),
    _unmatched("encoded dots too", "GET", "/users/%2e%2e/admin"),
    _blocked("an encoded letter hides nothing", "/users/r%6fot"),
    _allowed("an encoded letter, allowed", "/%75sers"),
    _allowed("slashes are merged", "//users"),
    Row(
        "an encoded slash is sent back",
        "frontend",
        "users",
        "GET",
        "/users%2F7",
        307,
        None,
        "escaped-slash",
    ),
    Row(
        "a client that no rule lets in",
        "intruder",
        "users",
        "GET",
        "/users",
        None,
        None,
        "l4-default-deny",
    ),
    Row(
        "no policy: straight to the server",
        "frontend",
        "auth",
        "GET",
        "/",
        200,
        "auth",
        "no-policy",
        direct=True,
    ),
    Row(
        "no policy: 1 MiB, socket to socket",
        "frontend",
        "auth",
        "GET",
        "/report",
        200,
        "auth",
        "no-policy",
        direct=True,
    ),
)
