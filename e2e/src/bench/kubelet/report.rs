//! What was measured of a node as a kubelet, as tables.

use super::{Bound, KubeletFigures};
use crate::bench::contestant::Contestant;
use crate::bench::figures::Milliseconds;
use crate::bench::report::{table, targets};

/// All of them.
pub(in crate::bench) fn tables(figures: &KubeletFigures) -> Vec<String> {
    vec![targets(&figures.targets), bound(&figures.bound), records(figures), exec(figures)]
}

fn bound(all: &[Bound]) -> String {
    let rows = all.iter().map(|row| {
        let kwok = all.iter().find(|other| (other.who, other.at_once) == (Contestant::FakePod, row.at_once));
        let of = |row: &Bound| row.bound_to_running.as_ref().map(|ms| ms.p50);
        let ratio = of(row).zip(kwok.and_then(of)).map(|(ours, kwoks)| format!("{:.2}", ours / kwoks));
        let running = row.bound_to_running.as_ref();
        let cell =
            |figure: fn(&Milliseconds) -> f64| running.map(|ms| format!("{:.1}", figure(ms))).unwrap_or_default();
        vec![
            row.who.name().to_owned(),
            row.at_once.to_string(),
            row.rounds.to_string(),
            cell(|ms| ms.p50),
            cell(|ms| ms.p99),
            ratio.unwrap_or_default(),
            format!("{:.1}", row.create_to_seen.p50),
            format!("{:.1}", row.create_to_seen.p99),
            format!("{:.1}", row.per_second),
        ]
    });
    let head = [
        "bound pods",
        "at once",
        "rounds",
        "bound → Running p50 ms",
        "p99 ms",
        "p50 / kwok's",
        "create → last seen p50 ms",
        "p99 ms",
        "pods/s",
    ];
    table(&head, rows)
}

fn records(figures: &KubeletFigures) -> String {
    let mib = |kib: f64| format!("{:.2}", kib / 1024.0);
    let rows = figures.records.iter().map(|row| {
        let [before, after] = row.rss_kib.map(mib);
        let [private_before, private_after] = row.private_kib.map(mib);
        vec![
            row.process.to_owned(),
            row.pods.to_owned(),
            row.fewer.to_string(),
            row.more.to_string(),
            before,
            after,
            private_before,
            private_after,
            format!("{:.1}", row.rss_kib_each()),
            format!("{:.1}", row.private_kib_each()),
        ]
    });
    let head = [
        "kept of pods, by",
        "that",
        "of so many",
        "and so many",
        "RSS MiB",
        "RSS MiB",
        "private MiB",
        "private MiB",
        "RSS KiB each",
        "private KiB each",
    ];
    table(&head, rows)
}

fn exec(figures: &KubeletFigures) -> String {
    let rows = figures.exec.iter().map(|row| {
        let ms = &row.milliseconds;
        let numbers = [ms.p50, ms.p99, ms.max].map(|ms| format!("{ms:.1}"));
        [row.way.name().to_owned()].into_iter().chain(numbers).chain([ms.samples.to_string()]).collect()
    });
    table(&["`true`, there and back", "p50 ms", "p99 ms", "max ms", "samples"], rows)
}
