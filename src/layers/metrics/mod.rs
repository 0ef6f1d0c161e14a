//! The figures of a server, as Prometheus reads them: counted around a handler, and shown by another.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crate::{Layer, LogRecord, Next, Request, RequestHandler, Response, Result, ServerHandle};

mod page; // what is shown

mod counts; // what is counted of requests

mod process; // what the kernel knows of this process

mod text; // the two formats

use counts::Counts;
use text::{Format, Writer};

/// Counts requests, and shows that with what the server does as Prometheus reads it: the text format 0.0.4, or
/// OpenMetrics 1.0 to those who ask for it. All metrics are in `docs/metrics.md`.
///
/// As a layer it counts each response, also to what could not be read: put it outermost. What it counts stands on cache lines of the
/// worker's own, without a lock; a request costs a look at the clock and a handful of additions.
///
/// [`page`](Metrics::page) is the handler that shows it, of whose requests the server is shown; if it is served by another server,
/// [`of`](Metrics::of) says which. The figures tell how busy a server is and what fails: put the page where not
/// everybody reads it.
///
/// ```
/// use modest::layers::Metrics;
/// use modest::{Http, Request, RequestHandler, Response, Routes};
///
/// let metrics = Metrics::new();
/// let app = Routes::new()
///     .get("/", |_, _| Ok(Response::text("hello\n")))
///     .mount("/metrics", metrics.page())
///     .serve(())
///     .layer(metrics);
/// let sent = Http::new(app).respond(&Request::get("/metrics"));
/// assert_eq!(sent.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
/// assert!(sent.text().contains("# TYPE modest_http_requests_total counter\n"));
/// ```
#[derive(Clone, Default)]
#[must_use = "counts nothing until it is given to `layer`"]
pub struct Metrics(Arc<Shared>);

#[derive(Default)]
struct Shared {
    counts: Counts,
    server: OnceLock<ServerHandle>,
    certificate_expiry: OnceLock<Expiry>,
}

type Expiry = Box<dyn Fn() -> Option<SystemTime> + Send + Sync>;

impl Metrics {
    /// Nothing is counted yet.
    pub fn new() -> Metrics {
        Metrics::default()
    }

    /// Whose figures the page shows. Default: those of the server that is asked for it. Only the first call counts.
    pub fn of(&self, server: ServerHandle) {
        let _ = self.0.server.set(server);
    }

    /// When the first certificate of the server expires, such as [`Certificates::expiry`](crate::Certificates::expiry) returns it, for
    /// `modest_certificate_expiry_timestamp_seconds`. Only the first call counts.
    #[cfg(feature = "tls")]
    pub fn certificate_expiry(&self, expiry: impl Fn() -> Option<SystemTime> + Send + Sync + 'static) {
        let _ = self.0.certificate_expiry.set(Box::new(expiry));
    }

    /// The page, for GET and HEAD, whatever the path.
    pub fn page(&self) -> MetricsPage {
        MetricsPage(self.clone())
    }

    fn text(&self, request: &Request, format: Format) -> String {
        let server = self.0.server.get().cloned().unwrap_or_else(|| request.server());
        let mut writer = Writer::new(format);
        page::write(&mut writer, &server, &self.0.counts, SystemTime::now());
        if let Some(expiry) = self.0.certificate_expiry.get().and_then(|expiry| expiry()) {
            page::certificates(&mut writer, expiry);
        }
        writer.end()
    }
}

impl Layer for Metrics {
    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        self.0.counts.received(request.method(), request.body().len());
        next.run(request)
    }

    fn log_request(&self, record: &LogRecord<'_>) {
        let method = record.request().map(Request::method);
        self.0.counts.responded(method, record.status(), record.bytes(), record.duration());
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(..)")
    }
}

/// Shows what [`Metrics`] have counted: [`Metrics::page`].
#[derive(Clone, Debug)]
#[must_use = "serves nobody until it is given to `TcpServer::bind`"]
pub struct MetricsPage(Metrics);

impl RequestHandler for MetricsPage {
    fn do_get(&self, request: &Request) -> Result<Response> {
        let format = Format::asked_for(request);
        let page = Response::text(self.0.text(request, format)).with_content_type(format.media_type());
        Ok(page.with_header("cache-control", "no-store").with_header("vary", "Accept"))
    }
}

#[cfg(test)]
mod tests;
