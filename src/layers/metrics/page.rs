//! The library's metrics, in the order of `docs/metrics.md`. `program/src/metrics.rs` adds those of the program.

use std::time::SystemTime;

use super::counts::{BUCKETS, Counts, Sums};
use super::process::Process;
use super::text::{Kind, Writer};
use crate::ServerHandle;
use Kind::{Counter, Gauge, Histogram};

pub fn write(writer: &mut Writer, server: &ServerHandle, counts: &Counts, process: &Process, now: SystemTime) {
    writer.family("modest_build_info", Gauge, "Running version; always 1.");
    writer.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    requests(writer, &counts.sums().collect::<Vec<_>>());
    connections(writer, server);
    engine(writer, server);
    of_process(writer, process, now);
}

fn requests(writer: &mut Writer, sums: &[Sums]) {
    writer.family("modest_http_requests_total", Counter, "Finished responses, by method and status.");
    for sums in sums {
        for (status, count) in &sums.statuses {
            writer.sample(&[("method", sums.method), ("status", &status.to_string())], count);
        }
    }
    let help = "Time from the end of a request's head to the end of its response.";
    writer.family("modest_http_request_duration_seconds", Histogram, help);
    for sums in sums {
        let (longest, bounded) = sums.cumulated.split_last().unwrap_or((&0, &[]));
        for (bound, count) in BUCKETS.iter().zip(bounded) {
            let bound = (*bound as f64 / 1e6).to_string();
            writer.sample_of("_bucket", &[("method", sums.method), ("le", &bound)], count);
        }
        writer.sample_of("_bucket", &[("method", sums.method), ("le", "+Inf")], longest);
        writer.sample_of("_sum", &[("method", sums.method)], sums.nanoseconds as f64 / 1e9);
        writer.sample_of("_count", &[("method", sums.method)], longest);
    }
    writer.family("modest_http_request_body_bytes_total", Counter, "Request bodies that handlers received whole.");
    for sums in sums {
        writer.sample(&[("method", sums.method)], sums.received);
    }
    writer.family("modest_http_response_body_bytes_total", Counter, "Response bodies, as far as they were sent.");
    for sums in sums {
        writer.sample(&[("method", sums.method)], sums.sent);
    }
}

fn connections(writer: &mut Writer, server: &ServerHandle) {
    let stats = server.stats();
    writer.family("modest_connections_accepted_total", Counter, "Accepted clients, by listener.");
    for listener in server.listeners() {
        writer.sample(&[("listener", &listener.address.to_string())], listener.accepted);
    }
    writer.family("modest_connections", Gauge, "Connected clients, by the state of their connection.");
    let elsewhere = stats.parked + stats.ready + stats.waiting + stats.streams + stats.waiting_streams;
    for (state, count) in [
        ("parked", stats.parked),
        ("ready", stats.ready),
        ("waiting", stats.waiting),
        ("thread", stats.streams),
        ("waiting_thread", stats.waiting_streams),
        ("turn", stats.connections.saturating_sub(elsewhere)),
    ] {
        writer.sample(&[("state", state)], count);
    }
    writer.family(
        "modest_live_connections",
        Gauge,
        "Parked clients that wait for something other than a request, by kind.",
    );
    for (kind, count) in
        [("listener", stats.event_listeners), ("long_poll", stats.long_polls), ("websocket", stats.websockets)]
    {
        writer.sample(&[("kind", kind)], count);
    }
    let help = "Connections closed to make room: idle, half-closed, or with an incomplete request head.";
    writer.single("modest_connections_evicted_total", Counter, help, stats.evicted);
    writer.family("modest_refused_total", Counter, "Rejected connections and requests, by limit.");
    for (limit, count) in [
        ("queue", stats.refused),
        ("address", stats.refused_per_address),
        ("live", stats.refused_live),
        ("input", stats.refused_input),
        ("threads", stats.refused_streams),
    ] {
        writer.sample(&[("limit", limit)], count);
    }
}

fn engine(writer: &mut Writer, server: &ServerHandle) {
    let stats = server.stats();
    let help = "Bytes of clients that count against input_quota: unused input, and a part of unsent output.";
    writer.single("modest_input_bytes", Gauge, help, stats.input);
    writer.single(
        "modest_handlers_running",
        Gauge,
        "Workers in a handler, or in other code that may block.",
        stats.running,
    );
    writer.single("modest_permits_taken", Gauge, "Permits in use for code that may block.", stats.permits);
    writer.single("modest_polls_total", Counter, "Polls of the kernel for ready connections.", stats.polls);
    writer.single("modest_wakes_total", Counter, "Wake-ups of workers.", stats.wakes);
}

pub fn certificates(writer: &mut Writer, expiry: SystemTime) {
    let seconds = expiry.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let help = "When the first certificate expires, in seconds since 1970.";
    writer.single("modest_certificate_expiry_timestamp_seconds", Gauge, help, seconds);
}

/// Writes the metrics of the process, as far as this system reports them.
fn of_process(writer: &mut Writer, process: &Process, now: SystemTime) {
    let more = process.more.as_ref();
    if let Some(accounts) = more {
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let uptime = (since_1970 - accounts.start_seconds).max(0.0);
        writer.single("modest_uptime_seconds", Gauge, "Time since the process started.", uptime);
    }
    let help = "Processor time used, in user and kernel mode.";
    writer.single("process_cpu_seconds_total", Counter, help, process.cpu_seconds);
    if let Some(open) = process.open_files {
        writer.single("process_open_fds", Gauge, "Open descriptors.", open);
    }
    if let Some(most) = process.max_files {
        writer.single("process_max_fds", Gauge, "File descriptor limit.", most);
    }
    let Some(accounts) = more else { return };
    writer.single("process_virtual_memory_bytes", Gauge, "Virtual memory.", accounts.virtual_bytes);
    writer.single("process_resident_memory_bytes", Gauge, "Resident memory.", accounts.resident_bytes);
    writer.single("process_threads", Gauge, "Threads.", accounts.threads);
    let help = "When the process started, in seconds since 1970.";
    writer.single("process_start_time_seconds", Gauge, help, accounts.start_seconds);
}
