//! What was aimed at: see issues 3 and 5, and `docs/explanation/figures.md`.

use super::contestant::Contestant;
use super::figures::{Figures, Latency, Milliseconds, Span, Target, Writer};
use super::writes;

const END_SEEN_MS: f64 = 50.0;
const NODE_KIB: f64 = 15.0 * 1024.0;
const SHIM_KIB: f64 = 1.5 * 1024.0;
/// What "about nothing" is taken to be, for each process.
const IDLE_CPU_PERCENT: f64 = 0.1;

/// By the node, for a pod that runs `true`, without events.
const NODE_WRITES: f64 = 2.0;

/// Compares.
pub(super) fn check(figures: &Figures) -> Vec<Target> {
    let Figures { idle, latency, .. } = figures;
    let mut targets = Vec::new();
    if let Some(end) = one_at_a_time(latency, Contestant::OurPod, Span::ExitToEndSeen) {
        targets.push(Target {
            what: "end of a process seen, p99, one at a time",
            wanted: format!("≤ {END_SEEN_MS} ms"),
            measured: format!("{:.1} ms", end.p99),
            reached: end.p99 <= END_SEEN_MS,
        });
    }
    let ours = one_at_a_time(latency, Contestant::OurPod, Span::CreateToRunning);
    let fakes = one_at_a_time(latency, Contestant::FakePod, Span::CreateToRunning);
    if let Some((ours, fakes)) = ours.zip(fakes) {
        targets.push(Target {
            what: "create → Running seen, p50, one at a time, against kwok",
            wanted: format!("≤ {:.1} ms", fakes.p50),
            measured: format!("{:.1} ms ({:.2} times kwok's)", ours.p50, ours.p50 / fakes.p50),
            reached: ours.p50 <= fakes.p50,
        });
    }
    for (what, process, limit) in
        [("memory of vk-node run, RSS", "vk-node run", NODE_KIB), ("memory of a shim, RSS", "vk-node shim", SHIM_KIB)]
    {
        let most =
            idle.iter().filter(|row| row.process.starts_with(process)).map(|row| row.rss_kib).max_by(f64::total_cmp);
        targets.extend(most.map(|most| Target {
            what,
            wanted: format!("≤ {:.1} MiB", limit / 1024.0),
            measured: format!("{:.2} MiB", most / 1024.0),
            reached: most <= limit,
        }));
    }
    let most = idle.iter().map(|row| row.cpu_percent).max_by(f64::total_cmp);
    targets.extend(most.map(|most| Target {
        what: "CPU of any of our processes, idle",
        wanted: format!("≤ {IDLE_CPU_PERCENT} %"),
        measured: format!("{most:.2} %"),
        reached: most <= IDLE_CPU_PERCENT,
    }));
    targets.extend(node_writes(figures));
    targets
}

/// What a node writes for a pod that was bound to it and ran `true`. A token of a ServiceAccount is asked for by a POST that
/// stores nothing: it is told, and not counted as a write.
fn node_writes(figures: &Figures) -> Option<Target> {
    let counted = figures.writes.iter().find(|row| (row.who, row.what) == (Contestant::OurPod, writes::BOUND))?;
    let of = |is_meant: fn(&str) -> bool| {
        let meant = |writer: &&Writer| writer.writer == writes::NODE && is_meant(&writer.what);
        counted.by_writer.iter().filter(meant).map(|writer| writer.per_job).sum::<f64>()
    };
    let (events, tokens) = (of(is_event), of(is_token));
    let rest = of(|what| !is_event(what) && !is_token(what));
    Some(Target {
        what: "writes by the node for a pod that runs `true`, without events",
        wanted: format!("≤ {NODE_WRITES}"),
        measured: format!("{rest:.1} (and {events:.1} events, {tokens:.1} requests for a token)"),
        reached: rest <= NODE_WRITES,
    })
}

fn is_event(what: &str) -> bool {
    what.ends_with(" events")
}

fn is_token(what: &str) -> bool {
    what.ends_with(" serviceaccounts/token")
}

fn one_at_a_time(latency: &[Latency], who: Contestant, span: Span) -> Option<&Milliseconds> {
    latency.iter().find(|row| (row.who, row.at_once, row.span) == (who, 1, span)).map(|row| &row.milliseconds)
}
