"""A mixed crowd for locust, to look at latencies over time rather than at a maximum.

``locust -f loadtest/locustfile.py --headless -u 50 -r 10 -t 30s --host http://127.0.0.1:8000``
against a listener with the demo's policy. A refusal that the policy asks for is a success.
"""

from locust import FastHttpUser, constant_throughput, task


class Frontend(FastHttpUser):
    """Reads mostly, logs in at times, and now and then tries what it may not."""

    wait_time = constant_throughput(20)

    @task(16)
    def read(self) -> None:
        self.client.get("/users/7", name="allowed")

    @task(2)
    def login(self) -> None:
        self.client.post("/login", data=b"user=alice", name="forwarded")

    @task(2)
    def trespass(self) -> None:
        with self.client.get("/admin", name="refused", catch_response=True) as response:
            if response.status_code == 403:
                response.success()
            else:
                response.failure(f"expected 403, got {response.status_code}")
