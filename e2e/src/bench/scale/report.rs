//! What was measured of many jobs, as tables.

use super::super::contestant::Contestant;
use super::super::figures::Target;
use super::super::report;
use super::world::Limits;
use super::{ScaleFigures, Work};

/// All of them.
pub(in crate::bench) fn tables(figures: &ScaleFigures) -> Vec<String> {
    vec![report::targets(&figures.targets), rates(figures), growth(figures), loads(figures), deletion(figures)]
}

/// What issue 6 aims at.
pub(super) fn targets(figures: &ScaleFigures) -> Vec<Target> {
    let times = |limits: Limits, wanted: f64, what: &'static str| {
        let of = |who| {
            figures.rates.iter().find(|rate| (rate.limits, rate.who) == (limits, who)).map(|rate| rate.per_second)
        };
        let times = of(Contestant::CmdJob)? / of(Contestant::FakeJob)?;
        Some(Target {
            what,
            wanted: format!("≥ {wanted} times"),
            measured: format!("{times:.1} times"),
            reached: times >= wanted,
        })
    };
    let lists: usize =
        figures.growth.iter().map(|row| row.work.lists).chain(figures.loads.iter().map(|row| row.work.lists)).sum();
    let all = [
        times(Limits::Lifted, 2.0, "CmdJobs/s against native Jobs on kwok's faked pods, rate limits lifted"),
        times(Limits::Defaults, 20.0, "the same with everything at its defaults"),
        Some(Target {
            what: "the operator's lists while jobs come and end",
            wanted: "0".to_owned(),
            measured: lists.to_string(),
            reached: lists == 0,
        }),
    ];
    all.into_iter().flatten().collect()
}

fn rates(figures: &ScaleFigures) -> String {
    let rows = figures.rates.iter().map(|row| {
        let cells = [row.jobs.to_string(), row.rounds.to_string(), format!("{:.1}", row.per_second)];
        [row.limits.name().to_owned(), row.who.name().to_owned()].into_iter().chain(cells).collect()
    });
    report::table(&["rate limits", "who", "jobs at once", "rounds", "per second (median)"], rows)
}

fn growth(figures: &ScaleFigures) -> String {
    let rows = figures.growth.iter().map(|row| {
        let (alone, together) = (&row.end_to_complete, &row.at_once);
        let times = [alone.p50, alone.p99, together.p50, together.p99].map(|ms| format!("{ms:.1}"));
        let head = [row.more.to_string(), row.beside.clone()];
        head.into_iter().chain(times).chain(work(&row.work, row.more)).collect()
    });
    let head = ["more jobs", "beside", "pod's end → Complete p50 ms", "p99 ms", "at once p50 ms", "p99 ms"]
        .into_iter()
        .chain(WORK);
    report::table(&head.collect::<Vec<_>>(), rows)
}

fn loads(figures: &ScaleFigures) -> String {
    let rows = figures.loads.iter().map(|row| {
        let processes = f64::from(u32::try_from(row.processes).unwrap_or(u32::MAX));
        let cells = [format!("{:.0}", row.seconds), format!("{:.1}", processes / row.seconds)];
        let head = [row.what.clone(), row.jobs.to_string(), row.processes.to_string()];
        head.into_iter().chain(cells).chain(work(&row.work, row.processes)).collect()
    });
    let head = ["load", "jobs", "processes", "s", "processes/s"].into_iter().chain(WORK);
    report::table(&head.collect::<Vec<_>>(), rows)
}

const WORK: [&str; 7] =
    ["looks per process", "look p50 ms", "p99 ms", "CPU ms per process", "RSS MiB", "peak MiB", "lists, watches, gets"];

/// What the operator has done for so many processes.
fn work(work: &Work, processes: usize) -> [String; 7] {
    let each = f64::from(u32::try_from(processes).unwrap_or(u32::MAX)).max(1.0);
    [
        format!("{:.1}", work.reconciles / each),
        format!("{:.1}", work.reconcile_p50_ms),
        format!("{:.1}", work.reconcile_p99_ms),
        format!("{:.2}", work.cpu_seconds * 1000.0 / each),
        format!("{:.1}", work.rss_kib / 1024.0),
        format!("{:.1}", work.peak_kib / 1024.0),
        format!("{}, {}, {}", work.lists, work.watches, work.gets),
    ]
}

fn deletion(figures: &ScaleFigures) -> String {
    let rows = figures.deletion.iter().map(|row| {
        vec![
            row.limits.name().to_owned(),
            row.jobs.to_string(),
            row.pods.to_string(),
            format!("{:.1}", row.jobs_gone_seconds),
            format!("{:.1}", row.pods_gone_seconds),
            format!("{}, {}", row.lists, row.gets),
        ]
    });
    let head = ["rate limits", "CmdJobs deleted", "their pods", "all jobs gone, s", "all pods gone, s", "lists, gets"];
    report::table(&head, rows)
}
