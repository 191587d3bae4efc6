"""Every target, by the name that the command line takes."""

from __future__ import annotations

from tests.fuzz import messages, paths, patterns, policies, questions, records, workloads

TARGETS = {
    "policies": policies.TARGET,
    "paths": paths.TARGET,
    "requests": messages.REQUESTS,
    "responses": messages.RESPONSES,
    "patterns": patterns.TARGET,
    "workloads": workloads.TARGET,
    "heads": records.HEADS,
    "lines": records.LINES,
    "questions": questions.QUESTIONS,
    "admin": questions.ADMIN,
}
