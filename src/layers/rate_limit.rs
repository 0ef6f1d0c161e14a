//! Limits requests per client: a token bucket per address, in a table of bounded size.

use std::fmt;
use std::time::Duration;

use super::buckets::Buckets;
use crate::{BodyPlan, IpNetwork, Layer, Request, Result};

/// Rejects clients that send too many requests: 429 with `Retry-After`, before the body is read.
///
/// Each client has a bucket of tokens, which is refilled at a constant rate. Each request takes one token; a rejected
/// request takes none. With 100 requests per minute, a client can send 100 at once, and then one every 0.6 seconds.
///
/// A client is an IPv4 address, or the first 64 bits of an IPv6 address, which is the smallest network of a customer.
/// The address is [`Request::client_ip`], so behind proxies put [`TrustedProxies`](super::TrustedProxies) around this
/// layer; otherwise all clients share one bucket. Clients of a Unix socket without a trusted proxy are not limited.
///
/// The table has a maximum number of clients (see [`max_clients`](RateLimit::max_clients)). Nothing runs in the
/// background. A client with many addresses has many buckets, so this does not protect against distributed floods.
///
/// ```
/// use modest::layers::RateLimit;
/// use modest::{Http, Request, RequestHandler, Response, handler_fn};
/// use std::time::Duration;
///
/// let app = handler_fn(|_| Ok(Response::text("hello\n"))).layer(RateLimit::new(2, Duration::from_secs(60)));
/// let http = Http::new(app);
/// assert_eq!(http.respond(&Request::get("/")).status(), 200);
/// assert_eq!(http.respond(&Request::get("/")).status(), 200);
/// let sent = http.respond(&Request::get("/"));
/// assert_eq!((sent.status().as_u16(), sent.header("retry-after")), (429, Some("30")));
/// ```
#[must_use = "does nothing until it is passed to `layer`"]
pub struct RateLimit {
    buckets: Buckets<IpNetwork>,
}

impl RateLimit {
    /// Allows up to this many requests per client per period.
    ///
    /// # Panics
    /// If one of them is zero, or the rate is over one per nanosecond.
    pub fn new(requests: u32, per: Duration) -> RateLimit {
        RateLimit { buckets: Buckets::new(requests, per, "requests") }
    }

    /// Sets how many requests a client can send at once after a pause. Default: the number passed to
    /// [`new`](RateLimit::new).
    ///
    /// # Panics
    /// If it is zero.
    pub fn burst(mut self, requests: u32) -> RateLimit {
        assert!(requests > 0, "a burst has at least one request");
        self.buckets.burst = requests;
        self
    }

    /// Sets the maximum number of clients in the table. Default: 65,536, which take 4.3 MB. Beyond it, the clients
    /// whose last request is longest ago are dropped, so they start again with a full bucket.
    ///
    /// # Panics
    /// If it is less than 2.
    pub fn max_clients(mut self, number: usize) -> RateLimit {
        assert!(number >= 2, "the table must have room for at least two clients");
        self.buckets.most = number;
        self
    }
}

impl Layer for RateLimit {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        self.buckets.take_for(request, "too many requests; try again later")
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("interval", &Duration::from_nanos(self.buckets.interval))
            .field("burst", &self.buckets.burst)
            .field("max_clients", &self.buckets.most)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, Http, RequestHandler, Response, handler_fn};
    use std::net::SocketAddr;

    const SECOND: u64 = 1_000_000_000;

    fn client(number: u32) -> IpNetwork {
        IpNetwork::of_client(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn a_bucket_refills_over_time() {
        let limit = RateLimit::new(10, Duration::from_secs(10)).burst(3);
        for (at, wait) in [
            (0, None),
            (0, None),
            (0, None),
            (0, Some(SECOND)),
            (SECOND / 2, Some(SECOND / 2)),
            (SECOND - 1, Some(1)),
            (SECOND, None),
            (SECOND, Some(SECOND)),
            (3 * SECOND, None),
            (3 * SECOND, None),
            (3 * SECOND, Some(SECOND)),
            (1000 * SECOND, None), // no more than three at once, even after a long pause
            (1000 * SECOND, None),
            (1000 * SECOND, None),
            (1000 * SECOND, Some(SECOND)),
            (999 * SECOND, Some(2 * SECOND)), // a clock that runs backwards gains nothing
        ] {
            assert_eq!(
                limit.buckets.take(client(7), at),
                wait.map(Duration::from_nanos).map_or(Ok(()), Err),
                "at {at}"
            );
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let limit = RateLimit::new(1, Duration::from_secs(1)).max_clients(100);
        for number in 0..10_000 {
            assert!(limit.buckets.take(client(number), 0).is_ok(), "{number}");
            assert!(limit.buckets.len() <= 100, "{number}");
        }
        // The latest clients are still in the table, the others are not.
        for (number, is_known) in [(9_999, true), (9_960, true), (5, false)] {
            assert_eq!(limit.buckets.take(client(number), 0).is_err(), is_known, "{number}");
        }
    }

    /// A client that keeps sending requests stays in the table, even if there are many others.
    #[test]
    fn a_flood_does_not_reset_the_flooding_client() {
        let limit = RateLimit::new(5, Duration::from_secs(5)).max_clients(100);
        let mut passed = 0;
        for round in 0..1000 {
            passed += u32::from(limit.buckets.take(client(7), 0).is_ok());
            assert!(limit.buckets.take(client(1000 + round), 0).is_ok());
        }
        assert_eq!(passed, 5);
    }

    #[test]
    fn addresses_are_grouped_into_clients() {
        for (one, other, same) in [
            ("1.2.3.4", "1.2.3.4", true),
            ("1.2.3.4", "1.2.3.5", false),
            ("1.2.3.4", "::ffff:1.2.3.4", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::1", "0.0.0.1", false),
            ("::ffff:0:0", "::", false),
        ] {
            let [left, right] = [one, other].map(|address| IpNetwork::of_client(address.parse().unwrap()));
            assert_eq!(left == right, same, "{one} {other}");
        }
    }

    #[test]
    fn requests_over_the_limit_get_429() {
        let http = Http::new(handler_fn(|_| Ok(Response::text("x"))).layer(RateLimit::new(1, Duration::from_secs(90))));
        let from = |address: &str| {
            let address: SocketAddr = address.parse().unwrap();
            http.respond(&Request::get("/").with_client(Client::new(address)))
        };
        for (address, status, wait) in [
            ("1.2.3.4:1", 200, None),
            ("1.2.3.4:2", 429, Some("90")),
            ("1.2.3.5:1", 200, None),
            ("[2001:db8::1]:1", 200, None),
            ("[2001:db8::2]:1", 429, Some("90")),
        ] {
            let sent = from(address);
            assert_eq!((sent.status().as_u16(), sent.header("retry-after")), (status, wait), "{address}");
        }
        for _ in 0..3 {
            let unix = Client::new(crate::Address::Unix(None));
            assert_eq!(http.respond(&Request::get("/").with_client(unix)).status(), 200);
        }
    }
}
