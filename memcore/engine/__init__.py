"""Who does which task: the scheduler, its workers and launchers, retries, and the circuit breaker."""
