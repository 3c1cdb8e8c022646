use std::fmt;
use std::time::Duration;

/// What one round of a work came to.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// The figure, in the work's unit.
    pub(crate) value: f64,
    /// The server's CPU time for it.
    pub(crate) cpu: Duration,
    pub(crate) unit: Unit,
    /// What clients waited for meanwhile, the same things in each round, and how long.
    pub(crate) waits: Vec<(&'static str, Duration)>,
}

/// What a figure counts, and whether more is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Megabytes,
    Milliseconds,
    Kibibytes,
}

impl Unit {
    const fn text(self) -> &'static str {
        match self {
            Self::PerSecond => "/s",
            Self::Megabytes => "MB/s",
            Self::Milliseconds => "ms",
            Self::Kibibytes => "KiB",
        }
    }

    const fn more_is_better(self) -> bool {
        matches!(self, Self::PerSecond | Self::Megabytes)
    }
}

/// The rounds of one work, by server; ours is the first.
#[derive(Debug)]
pub(crate) struct Report {
    work: &'static str,
    servers: Vec<(&'static str, Vec<Figure>)>,
}

impl Report {
    pub(crate) const HEAD: &'static str = "work                     server      median      lowest     highest        cpu ms   ratio (over 1: ours is better)";

    pub(crate) fn new(work: &'static str, servers: Vec<&'static str>) -> Self {
        Self { work, servers: servers.into_iter().map(|name| (name, Vec::new())).collect() }
    }

    pub(crate) fn add(&mut self, server: usize, figure: Figure) {
        if let Some((_, figures)) = self.servers.get_mut(server) {
            figures.push(figure);
        }
    }

    fn ratio(&self) -> Option<f64> {
        let [(_, ours), (_, theirs)] = self.servers.as_slice() else { return None };
        let (ours_typical, theirs_typical) = (typical(ours), typical(theirs));
        let better = ours.first()?.unit.more_is_better();
        Some(if better { ours_typical / theirs_typical } else { theirs_typical / ours_typical })
    }

    /// What clients waited for, each as a report of its own.
    fn waits(&self) -> Vec<Self> {
        let named = self.servers.iter().find_map(|(_, figures)| figures.first()).map(|it| it.waits.clone());
        let of = |position: usize, figure: &Figure| {
            let (_, took) = figure.waits.get(position)?;
            let value = took.as_secs_f64() * 1000.0;
            Some(Figure { value, cpu: figure.cpu, unit: Unit::Milliseconds, waits: Vec::new() })
        };
        let report = |(position, (work, _)): (usize, (&'static str, Duration))| {
            let figures = |figures: &[Figure]| figures.iter().filter_map(|it| of(position, it)).collect();
            let servers = self.servers.iter().map(|(name, all)| (*name, figures(all))).collect();
            Self { work, servers }
        };
        named.unwrap_or_default().into_iter().enumerate().map(report).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (server, figures)) in self.servers.iter().enumerate() {
            let values = || figures.iter().map(|it| it.value);
            let unit = figures.first().map_or("", |it| it.unit.text());
            let (lowest, highest) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
            let cpu = median(figures.iter().map(|it| it.cpu.as_secs_f64() * 1000.0));
            if position > 0 {
                writeln!(f)?;
            }
            write!(
                f,
                "{:24} {server:9} {:>8.1} {unit:5} {lowest:>8.1} {highest:>11.1} {cpu:>13.0}",
                if position == 0 { self.work } else { "" },
                typical(figures),
            )?;
            if let (0, Some(ratio)) = (position, self.ratio()) {
                write!(f, "   {ratio:.2}")?;
            }
        }
        self.waits().iter().try_for_each(|report| write!(f, "\n{report}"))
    }
}

/// The median; of memory the most, since a later round takes what an earlier one gave back.
fn typical(figures: &[Figure]) -> f64 {
    let values = || figures.iter().map(|it| it.value);
    match figures.first() {
        Some(Figure { unit: Unit::Kibibytes, .. }) => values().fold(0.0, f64::max),
        Some(_) | None => median(values()),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
