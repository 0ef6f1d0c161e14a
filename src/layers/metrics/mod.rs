//! The metrics of a server for Prometheus: counted around a handler, and returned by another.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use crate::mutex::lock;
use crate::{Error, Layer, LogRecord, Next, Request, RequestHandler, Response, Result, ServerHandle};

mod page; // the page
mod counts; // counters of requests
mod own; // counters and histograms of the program's own
mod process; // the kernel's data about this process
mod text; // the two formats

use counts::Counts;
use own::OnPage;
pub use own::{Counter, Histogram};
use text::{Format, Kind, Writer};

/// See [`system_services`](crate::system_services).
pub(crate) const SYSTEM_SERVICE: (&str, &str) = ("metrics of the process", process::WAY);

/// Counts requests, and returns the counts with the server's statistics for Prometheus: in the text format 0.0.4, or in
/// OpenMetrics 1.0 for clients that ask for it. All metrics are listed in `docs/metrics.md`.
///
/// As a layer it counts each response, including rejections of invalid requests, so put it outermost. The counters have
/// no lock, and few workers share each of their cache lines. A request costs reading the clock and a few additions.
///
/// [`page`](Metrics::page) is the handler of the page, with the statistics of the server that serves it. If the page is
/// served by another server, call [`of`](Metrics::of) with the server to report. Metrics reveal how busy a server is
/// and what fails, so do not publish the page.
///
/// ```
/// use modest::layers::Metrics;
/// use modest::{Http, Request, RequestHandler, Response, Routes};
///
/// let metrics = Metrics::new();
/// let app = Routes::new()
///     .get("/", |_, _| Ok(Response::text("hello\n")))
///     .mount("/metrics", metrics.page())
///     .with_state(())
///     .layer(metrics);
/// let sent = Http::new(app).respond(&Request::get("/metrics"));
/// assert_eq!(sent.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
/// assert!(sent.text().contains("# TYPE modest_http_requests_total counter\n"));
/// ```
#[derive(Clone, Default)]
#[must_use = "counts nothing until it is passed to `layer`"]
pub struct Metrics(Arc<Shared>);

#[derive(Default)]
struct Shared {
    counts: Counts,
    process: process::Source,
    server: OnceLock<ServerHandle>,
    certificate_expiry: OnceLock<Expiry>,
    more: Mutex<Vec<Arc<dyn OnPage>>>,
}

struct Metric {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    samples: Box<dyn Fn() -> Vec<Sample> + Send + Sync>,
}

impl OnPage for Metric {
    fn write(&self, writer: &mut Writer) {
        writer.family(self.name, self.kind, self.help);
        for (label, value) in (self.samples)() {
            let labels: Vec<_> = label.iter().map(|(name, value)| (*name, value.as_str())).collect();
            writer.sample(&labels, value);
        }
    }
}

/// The name and value of a label, if it has one, and the value.
type Sample = (Option<(&'static str, String)>, f64);

type Expiry = Box<dyn Fn() -> Option<SystemTime> + Send + Sync>;

impl Metrics {
    /// Creates a layer whose counts are all zero.
    pub fn new() -> Metrics {
        Metrics::default()
    }

    /// Sets the server whose statistics the page contains. Default: the server that serves the page. Only the first
    /// call has an effect.
    pub fn of(&self, server: ServerHandle) {
        let _ = self.0.server.set(server);
    }

    /// Sets the function that returns when the first certificate of the server expires, such as
    /// [`Certificates::expiry`](crate::Certificates::expiry). Its result is
    /// `modest_certificate_expiry_timestamp_seconds`. Only the first call has an effect.
    #[cfg(feature = "tls")]
    pub fn certificate_expiry(&self, expiry: impl Fn() -> Option<SystemTime> + Send + Sync + 'static) {
        let _ = self.0.certificate_expiry.set(Box::new(expiry));
    }

    /// Adds a gauge of your own: its name, its help text, and a function that returns its values, each with one label
    /// or none. The function is called for each page and must not block.
    ///
    /// ```
    /// let metrics = modest::layers::Metrics::new();
    /// metrics.gauge("rooms_open", "Rooms that are open.", || vec![(Some(("floor", "1".into())), 3.0)]);
    /// ```
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        samples: impl Fn() -> Vec<(Option<(&'static str, String)>, f64)> + Send + Sync + 'static,
    ) {
        self.add(Metric { name, kind: Kind::Gauge, help, samples: Box::new(samples) });
    }

    /// Adds a counter of your own, as [`gauge`](Metrics::gauge) does. Its name ends in `_total`.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        samples: impl Fn() -> Vec<(Option<(&'static str, String)>, f64)> + Send + Sync + 'static,
    ) {
        self.add(Metric { name, kind: Kind::Counter, help, samples: Box::new(samples) });
    }

    /// Adds a counter of your own to the page, for handlers to add to. Its name ends in `_total`. Up to 1,000 sets of
    /// labels are counted separately, all further ones together.
    ///
    /// ```
    /// use modest::layers::Metrics;
    /// use modest::{Http, Request, Response, Routes};
    ///
    /// let metrics = Metrics::new();
    /// let orders = metrics.new_counter("shop_orders_total", "Orders, by kind.");
    /// let times = metrics.new_histogram("shop_seconds", "Times of handlers, by route.", &[0.01, 0.1, 1.0]);
    /// let app = Routes::new()
    ///     .post("/orders/{kind}", move |_: &(), request| {
    ///         orders.add(&[("kind", &request.path_param::<String>("kind")?)], 1);
    ///         times.observe_time(&[("route", &request.route_pattern().unwrap_or_default())], request.elapsed());
    ///         Ok(Response::no_content())
    ///     })
    ///     .mount("/metrics", metrics.page())
    ///     .with_state(());
    /// let http = Http::new(app);
    /// http.respond(&Request::post("/orders/tea", ""));
    /// let page = http.respond(&Request::get("/metrics"));
    /// assert!(page.text().contains("shop_orders_total{kind=\"tea\"} 1\n"));
    /// assert!(page.text().contains("shop_seconds_count{route=\"/orders/{kind}\"} 1\n"));
    /// ```
    pub fn new_counter(&self, name: &'static str, help: &'static str) -> Counter {
        let counter = Counter::new(name, help);
        self.add(counter.clone());
        counter
    }

    /// Adds a histogram of your own to the page, with these upper bounds of its buckets and one more bucket without a
    /// bound. Labels are those of [`new_counter`](Metrics::new_counter).
    ///
    /// # Panics
    /// If the bounds do not ascend, or one of them is not finite.
    pub fn new_histogram(&self, name: &'static str, help: &'static str, bounds: &[f64]) -> Histogram {
        let histogram = Histogram::new(name, help, bounds);
        self.add(histogram.clone());
        histogram
    }

    fn add(&self, metric: impl OnPage + 'static) {
        lock(&self.0.more).push(Arc::new(metric));
    }

    /// Returns the handler of the page, for GET and HEAD at any path. OPTIONS gets a 204 with `Allow`, and other
    /// methods get 405.
    pub fn page(&self) -> MetricsPage {
        MetricsPage(self.clone())
    }

    fn text(&self, request: &Request, format: Format) -> String {
        let server = self.0.server.get().cloned().unwrap_or_else(|| request.server());
        let mut writer = Writer::new(format);
        let process = process::Process::look(&self.0.process);
        page::write(&mut writer, &server, &self.0.counts, &process, SystemTime::now());
        if let Some(expiry) = self.0.certificate_expiry.get().and_then(|expiry| expiry()) {
            page::certificates(&mut writer, expiry);
        }
        let more = lock(&self.0.more).clone(); // functions of programs are called without the lock
        more.iter().for_each(|metric| metric.write(&mut writer));
        writer.end()
    }
}

impl Layer for Metrics {
    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        let bytes = request.body().len(); // before the handler can consume it
        let result = next.run(request);
        if !result.as_ref().is_ok_and(Response::is_to_wait) {
            // A stream without a length grows while it is read. Otherwise this method is called again.
            self.0.counts.received(request.method(), bytes.max(request.body().len()));
        }
        result
    }

    fn log_request(&self, record: &LogRecord<'_>) {
        let method = record.request().map(Request::method);
        self.0.counts.responded(method, record.status(), record.bytes(), record.duration());
    }
}

opaque!(Metrics);

/// The page of [`Metrics`]: [`Metrics::page`].
#[derive(Clone, Debug)]
#[must_use = "serves no client until it is passed to `TcpServer::bind`"]
pub struct MetricsPage(Metrics);

impl RequestHandler for MetricsPage {
    fn do_get(&self, request: &Request) -> Result<Response> {
        let format = Format::asked_for(request);
        let page = Response::text(self.0.text(request, format)).with_content_type(format.media_type());
        Ok(page.with_header("cache-control", "no-store").with_header("vary", "Accept"))
    }

    fn do_options(&self, _: &Request) -> Result<Response> {
        Ok(Response::no_content().with_header("allow", METHODS))
    }

    all_call!(do_other: do_post do_put do_delete do_patch);

    fn do_other(&self, request: &Request) -> Result<Response> {
        let why = format!("This path does not support {}.", request.method());
        Err(Error::new(405, why).with_header("allow", METHODS))
    }
}

const METHODS: &str = "GET, HEAD, OPTIONS";

#[cfg(test)]
mod tests;
