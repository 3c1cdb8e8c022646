//! What the supervisor knows, as Prometheus reads it.

use std::collections::BTreeMap;

use mail_metrics::{Kind, Metric, Sample};
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use super::control::{Report, ServerState};

/// In the text format of Prometheus, version 0.0.4.
pub(super) fn in_prometheus_format(report: &Report) -> prometheus::Result<String> {
    let registry = Registry::new();
    add_servers(&registry, report)?;
    let mut by_metric = BTreeMap::<Metric, Vec<&Sample>>::new();
    for sample in &report.metrics {
        by_metric.entry(sample.metric).or_default().push(sample);
    }
    for (metric, samples) in by_metric {
        add(&registry, metric, &samples)?;
    }
    TextEncoder::new().encode_to_string(&registry.gather())
}

fn add_servers(registry: &Registry, report: &Report) -> prometheus::Result<()> {
    let gauge = |name: &str, help: &str| gauges(registry, Opts::new(name, help), &["server"]);
    let running = gauge("mailstead_server_running", "1 while the server serves.")?;
    let sessions = gauge("mailstead_sessions", "Open connections.")?;
    let opts =
        Opts::new("mailstead_server_restarts_total", "How often the server died and was started again.");
    let restarts = counters(registry, opts, &["server"])?;
    for server in &report.servers {
        let label = [server.server.name()];
        let is_running = i64::from(server.state == ServerState::Running);
        let running = running.with_label_values(&label);
        running.set(running.get().max(is_running));
        let open = server.sessions.and_then(|open| i64::try_from(open).ok()).unwrap_or_default();
        sessions.with_label_values(&label).add(open);
        restarts.with_label_values(&label).inc_by(server.restarts.into());
    }
    Ok(())
}

fn add(registry: &Registry, metric: Metric, samples: &[&Sample]) -> prometheus::Result<()> {
    let opts = Opts::new(metric.name(), metric.help());
    // A server of another version may have told something else.
    let fitting = samples.iter().filter(|sample| sample.labels.len() == metric.labels().len());
    match metric.kind() {
        Kind::Counter => {
            let counters = counters(registry, opts, metric.labels())?;
            fitting.for_each(|it| counters.with_label_values(&it.labels).inc_by(it.value));
        }
        Kind::Gauge => {
            let gauges = gauges(registry, opts, metric.labels())?;
            fitting.for_each(|it| {
                gauges.with_label_values(&it.labels).set(i64::try_from(it.value).unwrap_or(i64::MAX))
            });
        }
    }
    Ok(())
}

fn counters(registry: &Registry, opts: Opts, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    let counters = IntCounterVec::new(opts, labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauges(registry: &Registry, opts: Opts, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
    let gauges = IntGaugeVec::new(opts, labels)?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Server;
    use crate::supervisor::control::ServerReport;

    #[test]
    fn figures_are_written_as_prometheus_reads_them() {
        let server = ServerReport {
            server: Server::Queue,
            state: ServerState::Running,
            pid: Some(7),
            uptime_seconds: Some(1),
            restarts: 2,
            sessions: None,
        };
        let sample = |metric, labels: &[&str], value| Sample {
            metric,
            labels: labels.iter().map(|it| (*it).to_owned()).collect(),
            value,
        };
        let metrics = vec![
            sample(Metric::Deliveries, &["sent"], 5),
            sample(Metric::Deliveries, &["bounced"], 1),
            sample(Metric::QueueMessages, &[], 3),
            sample(Metric::Listings, &["192.0.2.1", "a\"b.test"], 1),
            sample(Metric::Messages, &["one label too few"], 1),
        ];
        let (servers, notices) = (vec![server], Vec::new());
        let report = Report { pid: 1, uptime_seconds: 1, config: "c".into(), servers, notices, metrics };
        let text = in_prometheus_format(&report).unwrap();
        for line in [
            "# TYPE mailstead_deliveries_total counter",
            "mailstead_deliveries_total{outcome=\"bounced\"} 1",
            "mailstead_deliveries_total{outcome=\"sent\"} 5",
            "# TYPE mailstead_queue_messages gauge",
            "mailstead_queue_messages 3",
            "mailstead_blocklist_listed{address=\"192.0.2.1\",list=\"a\\\"b.test\"} 1",
            "mailstead_server_running{server=\"queue\"} 1",
            "mailstead_server_restarts_total{server=\"queue\"} 2",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
    }
}
