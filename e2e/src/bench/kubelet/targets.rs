//! What issue 5 aims at.

use super::exec::Way;
use super::{Bound, KubeletFigures};
use crate::bench::contestant::Contestant;
use crate::bench::figures::Target;

/// Pods a second, if the API server lets them be created at that rate.
const PODS_PER_SECOND: f64 = 167.0;
/// A node with few pods, by its RSS.
const NODE_KIB: f64 = 15.0 * 1024.0;
/// The node's RSS for each further pod.
const RECORD_KIB: f64 = 20.0;

/// Compares.
pub(super) fn check(figures: &KubeletFigures) -> Vec<Target> {
    let mut targets = Vec::new();
    let bound =
        |who: Contestant, at_once: usize| figures.bound.iter().find(|row| (row.who, row.at_once) == (who, at_once));
    let sizes = figures.bound.iter().filter(|row| row.who == Contestant::OurPod).map(|row| row.at_once);
    let mut most = None;
    for at_once in sizes {
        let p50 = |row: &Bound| row.bound_to_running.as_ref().map(|ms| ms.p50);
        let ours = bound(Contestant::OurPod, at_once).and_then(p50);
        let kwoks = bound(Contestant::FakePod, at_once).and_then(p50);
        if let Some((ours, kwoks)) = ours.zip(kwoks) {
            targets.push(Target {
                what: match at_once {
                    1 => "bound → Running, p50, one at a time, against kwok",
                    50 => "the same, 50 at once",
                    500 => "the same, 500 at once",
                    _ => "the same, some at once",
                },
                wanted: format!("≤ {kwoks:.1} ms"),
                measured: format!("{ours:.1} ms ({:.2} times kwok's)", ours / kwoks),
                reached: ours <= kwoks,
            });
        }
        most = Some(at_once);
    }
    targets.extend(most.and_then(|most| {
        let rate = |who| Some(bound(who, most)?.per_second);
        let ours = rate(Contestant::OurPod)?;
        let (kwoks, nobodys) = rate(Contestant::FakePod).zip(rate(Contestant::NobodysPod))?;
        Some(Target {
            what: "pods a second, with real processes, most at once",
            wanted: format!("≥ {PODS_PER_SECOND}, if the API server allows"),
            measured: format!("{ours:.0} (kwok {kwoks:.0}; only to create them: {nobodys:.0})"),
            reached: ours >= PODS_PER_SECOND,
        })
    }));
    let node: Vec<_> = figures.records.iter().filter(|row| row.process == "vk-node run").collect();
    targets.extend(node.first().map(|row| {
        let [few, _] = row.rss_kib;
        Target {
            what: "memory of vk-node run with few pods, RSS",
            wanted: format!("≤ {:.1} MiB", NODE_KIB / 1024.0),
            measured: format!("{:.2} MiB", few / 1024.0),
            reached: few <= NODE_KIB,
        }
    }));
    targets.extend(node.iter().map(|row| Target {
        what: match row.pods {
            "sleep" => "memory of vk-node run, RSS for each further pod that sleeps",
            _ => "the same, that has ended",
        },
        wanted: format!("≤ {RECORD_KIB} KiB"),
        measured: format!("{:.1} KiB", row.rss_kib_each()),
        reached: row.rss_kib_each() <= RECORD_KIB,
    }));
    let p50 = |way: Way| figures.exec.iter().find(|row| row.way == way).map(|row| row.milliseconds.p50);
    for (what, way) in [
        ("exec of `true`, p50, by the node's own API, against ssh to this machine", Way::WebSocket),
        ("the same by kubectl exec", Way::Kubectl),
    ] {
        targets.extend(p50(way).zip(p50(Way::Ssh)).map(|(ours, ssh)| Target {
            what,
            wanted: format!("≤ {ssh:.1} ms"),
            measured: format!("{ours:.1} ms ({:.2} times ssh's)", ours / ssh),
            reached: ours <= ssh,
        }));
    }
    targets
}
