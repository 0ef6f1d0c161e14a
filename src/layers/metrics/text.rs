//! The two formats: Prometheus's text format 0.0.4, and OpenMetrics 1.0, which differs in the names of counters, in an
//! end marker, and in its media type.

use std::fmt::{Display, Write as _};

use crate::Request;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Format {
    /// Returns OpenMetrics for clients that name it in `Accept` with a weight not below that of the text format.
    pub fn asked_for(request: &Request) -> Format {
        let weight = |ranges: &[&str]| request.accept_weight(ranges).unwrap_or(0);
        let wanted = weight(&["application/openmetrics-text"]);
        match wanted > 0 && wanted >= weight(&["text/plain", "text/*"]) {
            true => Format::OpenMetrics,
            false => Format::Text,
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes a page, one family of samples after the other.
pub struct Writer {
    format: Format,
    text: String,
    name: &'static str,
}

impl Writer {
    pub fn new(format: Format) -> Writer {
        Writer { format, text: String::with_capacity(8 << 10), name: "" }
    }

    /// Begins a metric: the following samples belong to it.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.name = name;
        let kind_name = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let family = match self.format {
            Format::OpenMetrics if kind == Kind::Counter => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        // In memory, which cannot fail.
        let _ = writeln!(self.text, "# HELP {family} {help}\n# TYPE {family} {kind_name}");
    }

    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.sample_of("", labels, value);
    }

    /// Writes a sample of a histogram: `_bucket`, `_sum` or `_count`.
    pub fn sample_of(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (number, (name, value)) in labels.iter().enumerate() {
            self.text.push(if number == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{name}=\"");
            for letter in value.chars() {
                match letter {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    letter => self.text.push(letter),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// Writes a metric with one sample.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }

    pub fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}
