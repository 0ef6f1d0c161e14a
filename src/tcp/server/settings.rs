//! The settings of a [`TcpServer`]: its threads, queues, limits and times.

use std::time::Duration;

use super::super::connection::MinRate;
use super::TcpServer;

impl TcpServer {
    /// Sets how many handlers can run at once. Default: 16, or four times the number of processors if that is more.
    /// Unused workers cost nothing. Set more if handlers wait for other servers.
    ///
    /// # Panics
    /// If it is 0.
    pub fn workers(mut self, count: usize) -> TcpServer {
        assert!(count > 0, "a server needs at least one worker");
        self.settings.handlers = count;
        self
    }

    /// Sets how many handlers can compute at once: 1 for handlers that hold one lock while they compute, such as the
    /// lock of an interpreter. Default: the number of processors that this process may use.
    ///
    /// While a handler computes, no other handler is then started just to wait for that lock. Handlers that wait for
    /// something else still run at once, up to [`workers`](TcpServer::workers). Time in which they wait for the lock is
    /// reported by [`waited_for_lock`](crate::waited_for_lock). Until then a handler that has waited for over 1 ms
    /// counts as waiting for something else, so handlers that compute for milliseconds can still start others.
    ///
    /// # Panics
    /// If it is 0.
    pub fn parallelism(mut self, count: usize) -> TcpServer {
        assert!(count > 0, "the parallelism must be at least 1");
        self.parallelism = Some(count);
        self
    }

    /// Sets the size of the stack of each thread that runs handlers, in bytes. Default: that of the standard library, 2
    /// MiB. Set more for handlers that recurse deeply, such as those that run an interpreter. A page takes memory once
    /// it is used. Background threads have the default.
    ///
    /// # Panics
    /// If it is less than 64 KiB.
    pub fn stack_size(mut self, bytes: usize) -> TcpServer {
        assert!(bytes >= 64 << 10, "the stack of a handler needs at least 64 KiB");
        self.settings.stack_size = Some(bytes);
        self
    }

    /// Sets how many requests can wait for a worker while all are in handlers; further requests are rejected at once
    /// (HTTP: 503). Default: 1,024. No request is rejected while handlers are fast enough to empty the queue within one
    /// second, at their rate of the last 200 ms.
    pub fn queue_limit(mut self, requests: usize) -> TcpServer {
        self.settings.queue_limit = requests;
        self
    }

    /// Sets how long a request can wait for a worker while all are in handlers; then it is rejected (HTTP: 503).
    /// Default: 10 seconds; `None`: no limit. A response that has begun, such as a stream, waits without a limit. Time
    /// in which the process is stopped (SIGSTOP, a suspended machine) counts.
    pub fn queue_timeout(mut self, limit: impl Into<Option<Duration>>) -> TcpServer {
        self.settings.queue_timeout = limit.into();
        self
    }

    /// Sets how long a client can read nothing of its output before its connection is reset. Default: 30 seconds;
    /// `None`: no limit.
    pub fn write_timeout(mut self, limit: impl Into<Option<Duration>>) -> TcpServer {
        self.settings.send_limits.write_timeout = limit.into();
        self
    }

    /// Sets the minimum rate at which a client must send a request body (otherwise HTTP responds with 408) and read a
    /// response (otherwise a reset), in bytes per second on average over a period. Default: 500 bytes per second over
    /// 30 seconds; `None`: no minimum. Only time in which the server waits for the client counts, not time in handlers
    /// and queues.
    ///
    /// # Panics
    /// If the period is 0.
    pub fn min_rate(mut self, rate: impl Into<Option<(u64, Duration)>>) -> TcpServer {
        let rate = rate.into();
        assert!(rate.is_none_or(|(_, over)| !over.is_zero()), "the period of a rate must not be zero");
        self.settings.send_limits.min_rate = rate.map(|(bytes_per_second, over)| MinRate { bytes_per_second, over });
        self
    }

    /// Sets how long a shutdown waits for requests in progress. Default: 10 seconds; `None`: until the last response is
    /// sent. A request is in progress once its head has arrived, so a client that does not send the rest of a body can
    /// delay the return of `serve_forever` until the timeout. An endless response has to end by itself within that time
    /// (see [`ServerHandle::is_shutting_down`](crate::ServerHandle::is_shutting_down)), or is cut off.
    pub fn shutdown_timeout(mut self, limit: impl Into<Option<Duration>>) -> TcpServer {
        self.shutdown_timeout = limit.into();
        self
    }

    /// Sets the memory, in bytes, from which the defaults of [`max_connections`](TcpServer::max_connections) and
    /// [`input_quota`](TcpServer::input_quota) are computed (`docs/deploy.md#memory`). Default:
    /// [`available_memory()`](crate::available_memory), that of the machine or of the control groups (cgroups) around
    /// the process.
    pub fn memory(mut self, bytes: u64) -> TcpServer {
        self.memory = bytes;
        self
    }

    /// Sets how many bytes of input can be unused in all: incomplete heads, heads of requests in progress, and further
    /// requests on their connections; a client that sends more is rejected (HTTP: 503). Default: an eighth of the
    /// [memory](TcpServer::memory), at most 256 MiB; `None`: no limit.
    ///
    /// A client with at most 2 KiB is not counted, and one with more is counted in full, with up to 64 KiB of its
    /// unsent output. A message of a WebSocket counts until its handler is called. Rejected clients are counted in
    /// [`Stats`](crate::Stats). Bodies have quotas of their own
    /// ([`Http::body_memory_quota`](crate::Http::body_memory_quota)).
    pub fn input_quota(mut self, bytes: impl Into<Option<u64>>) -> TcpServer {
        self.input_quota = Some(bytes.into());
        self
    }

    /// Sets a time between the call of [`ServerHandle::shutdown`](crate::ServerHandle::shutdown) and the beginning of
    /// the shutdown, in which clients are served as before and
    /// [`ServerHandle::is_draining`](crate::ServerHandle::is_draining) is true. Default: no delay.
    ///
    /// In that time load balancers notice that a health check fails, and send requests elsewhere. In the second half,
    /// each response contains `Connection: close`. [`ServerHandle::hand_over`](crate::ServerHandle::hand_over) has no
    /// delay.
    pub fn shutdown_delay(self, delay: Duration) -> TcpServer {
        self.handle.set_delay(delay);
        self
    }

    /// Sets how many clients can be connected at once; beyond that, idle connections are closed for new clients, and
    /// new clients wait. Default: the file descriptor limit minus an eighth (at least 64), but at most as many
    /// connections as fit in half of the [memory](TcpServer::memory), at 8 KiB each, or 80 KiB with TLS.
    ///
    /// # Panics
    /// If it is 0.
    pub fn max_connections(mut self, count: usize) -> TcpServer {
        assert!(count > 0, "a server needs at least one connection");
        self.max_connections = Some(count);
        self
    }

    /// Sets how many connections can have a thread of their own: the clients of a
    /// [`StreamHandler`](crate::raw::StreamHandler), all others whose conversation returns
    /// [`Action::Take`](crate::raw::Action::Take), and responses whose handlers keep their threads
    /// ([`keep_thread`](crate::keep_thread)). Default: 256. Further connections wait, up to
    /// [`queue_limit`](TcpServer::queue_limit) of them and for up to [`queue_timeout`](TcpServer::queue_timeout). A
    /// handler that wants to keep its thread does not wait, and gets an error.
    ///
    /// A silent client keeps its thread until its [timeout](crate::raw::StreamHandler::timeout), and is not evicted for
    /// another client, so silent clients can hold all threads for that time. If anyone can connect, set a short timeout
    /// and [`max_per_address`](TcpServer::max_per_address), or use [`Lines`](crate::raw::Lines) or a
    /// [`Conversation`](crate::raw::Conversation), which hold no thread for a silent client.
    ///
    /// # Panics
    /// If it is 0.
    pub fn max_streams(mut self, count: usize) -> TcpServer {
        assert!(count > 0, "a server needs at least one thread for streams");
        self.settings.max_streams = count;
        self
    }

    /// Sets how many connections one IP address can have at once; further connections are reset. Default: no limit.
    /// They are reset as soon as they are accepted, and counted in [`Stats`](crate::Stats). All IPv6 addresses with the
    /// same first 64 bits count as one. Clients of Unix sockets are not counted. With
    /// [`ProxyProtocol`](crate::ProxyProtocol), the clients that a proxy names are counted, when their header has
    /// arrived, and the proxy is not. Behind any other proxy all clients have the proxy's address, so set no limit
    /// there.
    ///
    /// # Panics
    /// If it is 0.
    pub fn max_per_address(mut self, limit: impl Into<Option<usize>>) -> TcpServer {
        let limit = limit.into();
        assert!(limit != Some(0), "an address needs at least one connection");
        self.settings.max_per_address = limit;
        self
    }

    /// Sets how many connections can wait for something other than their client, such as event streams, long polls and
    /// WebSockets (`docs/live.md`); a further connection is rejected (HTTP: 503, with `Retry-After` if the method only
    /// reads). Default: seven eighths of [`max_connections`](TcpServer::max_connections), at least one less.
    ///
    /// These are listeners of events or of pushed bytes, long polls, and connections that have switched to another
    /// protocol and have no thread of their own. They are not evicted for new clients. Rejected ones are counted in
    /// [`Stats`](crate::Stats).
    pub fn max_live(mut self, count: usize) -> TcpServer {
        self.max_live = Some(count);
        self
    }

    /// Sets how many of the connections counted by [`max_live`](TcpServer::max_live) one IP address can have; a
    /// further connection is rejected (HTTP: 429, with `Retry-After` if the method only reads). Default: no limit.
    ///
    /// The address is [`Request::client_ip`](crate::Request::client_ip), counted as for
    /// [`max_per_address`](TcpServer::max_per_address). Behind a [trusted](crate::layers::TrustedProxies) proxy each
    /// client has its own.
    pub fn max_live_per_address(mut self, limit: impl Into<Option<usize>>) -> TcpServer {
        self.settings.max_live_per_address = limit.into();
        self
    }

    /// Sets how long a handler can run before a warning is logged with its request. Default: 10 seconds; `None`: never.
    /// Each handler is logged once, while it runs. Reading a streamed body
    /// ([`Response::stream`](crate::Response::stream)) is not limited.
    pub fn slow_handler(mut self, limit: impl Into<Option<Duration>>) -> TcpServer {
        self.settings.slow_handler = limit.into();
        self
    }

    /// Sets whether to notify systemd when clients are accepted and when a shutdown begins, if `NOTIFY_SOCKET` is set.
    /// Default: false. The messages are `READY=1` and `STOPPING=1`, for a service of `Type=notify`. An error is logged.
    pub fn notify_systemd(mut self, notify: bool) -> TcpServer {
        self.notify_systemd = notify;
        self
    }
}
