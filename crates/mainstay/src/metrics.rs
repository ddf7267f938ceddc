//! What the metrics of the cache, the events and the gateway mean, for whoever reads `/metrics`.

/// Says it for each.
pub fn describe() {
    for (name, help) in [
        ("mainstay_cache_hits_total", "Reads that the cache answered."),
        ("mainstay_cache_misses_total", "Reads that the cache did not have."),
        (
            "mainstay_cache_bypasses_total",
            "Reads that the cache was not asked for.",
        ),
        ("mainstay_cache_fills_total", "Answers that were put into the cache."),
        (
            "mainstay_cache_fenced_total",
            "Answers that were not kept, because a write came while they were read.",
        ),
        ("mainstay_cache_dropped_total", "Answers that a write dropped."),
        (
            "mainstay_cache_voided_total",
            "Times that all answers of a store were dropped at once.",
        ),
        ("mainstay_cache_evicted_total", "Answers that made room for others."),
        (
            "mainstay_cache_expired_total",
            "Answers that were older than a table's ttl.",
        ),
        ("mainstay_cache_entries", "Answers in the cache."),
        ("mainstay_cache_bytes", "Bytes that the cache holds."),
        (
            "mainstay_relayed_total",
            "Events that went from a store's outbox to the bus, by store.",
        ),
        (
            "mainstay_events_waiting",
            "Events that wait to be delivered, those under way included, by subscription.",
        ),
        (
            "mainstay_events_retrying",
            "Of those that wait, how many failed before, by subscription.",
        ),
        ("mainstay_events_parked", "Dead letters, by subscription."),
        (
            "mainstay_delivered_total",
            "Deliveries that succeeded, by subscription.",
        ),
        (
            "mainstay_delivery_failures_total",
            "Attempts that failed and are tried again, by subscription.",
        ),
        (
            "mainstay_parked_total",
            "Deliveries that became dead letters, by subscription.",
        ),
        (
            "mainstay_delivery_seconds",
            "From an event to its delivery, by subscription.",
        ),
        ("mainstay_connections", "Open connections of clients."),
        (
            "mainstay_connections_closed_total",
            "Connections that were closed, by reason.",
        ),
        ("mainstay_refusals_total", "Requests that the gateway refused, by code."),
        (
            "mainstay_limit_refusals_total",
            "Requests that a limit refused, by rule.",
        ),
        (
            "mainstay_express_answers_total",
            "Answers to requests that came again byte for byte, out of the cache.",
        ),
        (
            "mainstay_upstream_retries_total",
            "Requests that were sent to another server.",
        ),
        (
            "mainstay_upstream_retries_refused_total",
            "Requests that were not sent to another server, because the budget was spent.",
        ),
        (
            "mainstay_upstream_in_flight",
            "Requests that a server has and has not answered, by upstream and server.",
        ),
        (
            "mainstay_upstream_ejected",
            "Whether a server gets no requests for now, by upstream and server.",
        ),
        (
            "mainstay_upstream_ejections_total",
            "Times that a server was taken out for its failures, by upstream and server.",
        ),
        (
            "mainstay_panics_total",
            "Requests that met a fault of Mainstay's own, by route.",
        ),
        (
            "mainstay_log_lines_dropped_total",
            "Lines of the log that nobody took in time.",
        ),
    ] {
        mainstay_telemetry::describe(name, help);
    }
}
