//! The figures as tables, in Markdown, which reads well on a terminal too.

use super::figures::{Figures, FleetFigures, Latency, PipeFigures, PipeMany, Span, Target};
use super::{kubelet, scale, sites};

/// All tables, one after the other.
pub(super) fn tables(figures: &Figures) -> String {
    let machine = &figures.machine;
    let about = format!(
        "{} processors ({}), {} of memory, {}; load average {} before and {} after",
        machine.processors, machine.processor, machine.memory, machine.kernel, figures.load_before, figures.load_after
    );
    let mut all = vec![about];
    if let Some(pipe) = &figures.pipe {
        all.extend([targets(&pipe.targets), pipe_latency(pipe), pipe_rate(pipe), pipe_output(pipe), pipe_many(pipe)]);
    }
    if let Some(fleet) = &figures.fleet {
        all.extend([targets(&fleet.targets), fleet_sizes(fleet), fleet_requests(fleet)]);
    }
    if let Some(scale) = &figures.scale {
        all.extend(scale::tables(scale));
    }
    if !figures.sites.is_empty() {
        all.push(sites::table(&figures.sites));
    }
    if !figures.targets.is_empty() {
        let cluster = [targets(&figures.targets), latency(figures), rate(figures), idle(figures), writes(figures)];
        all.extend(cluster);
    }
    if let Some(kubelet) = &figures.kubelet {
        all.extend(kubelet::tables(kubelet));
    }
    all.join("\n\n")
}

fn pipe_latency(pipe: &PipeFigures) -> String {
    let rows = pipe.latency.iter().map(|row| {
        let ms = &row.milliseconds;
        let numbers = [ms.p50, ms.p99, ms.max].map(|ms| format!("{ms:.2}"));
        [row.span.to_owned(), row.who.to_owned()].into_iter().chain(numbers).chain([ms.samples.to_string()]).collect()
    });
    table(&["one at a time", "who", "p50 ms", "p99 ms", "max ms", "samples"], rows)
}

fn pipe_rate(pipe: &PipeFigures) -> String {
    let rows = pipe.rates.iter().map(|row| {
        vec![row.who.to_owned(), row.parallel.to_string(), format!("{:.0}", row.per_second), row.samples.to_string()]
    });
    table(&["rate", "in parallel", "per second (median)", "rounds"], rows)
}

fn pipe_output(pipe: &PipeFigures) -> String {
    let rows = pipe.output.iter().map(|row| {
        let numbers = [row.shim, row.shim_per_core, row.cat].map(|rate| format!("{rate:.0}"));
        [row.what.to_owned()].into_iter().chain(numbers).collect()
    });
    table(&["output", "into the log, MB/s", "per core of the shim, MB/s", "cat into a file, MB/s"], rows)
}

fn pipe_many(pipe: &PipeFigures) -> String {
    let PipeMany { tasks, shim_private_mib, pipe_pss_mib, all_pss_mib, cpu_percent } = &pipe.many;
    let row = vec![
        tasks.to_string(),
        format!("{shim_private_mib:.2}"),
        format!("{pipe_pss_mib:.1}"),
        format!("{all_pss_mib:.0}"),
        format!("{cpu_percent:.2}"),
    ];
    let head = ["tasks that sleep", "private MiB of a shim", "pipe PSS MiB", "all PSS MiB", "CPU % of shims and pipe"];
    table(&head, std::iter::once(row))
}

fn fleet_sizes(fleet: &FleetFigures) -> String {
    let rows = fleet.rows.iter().map(|row| {
        let per_node = row.rss_kib / u32::try_from(row.nodes).map_or(f64::MAX, f64::from);
        vec![
            row.nodes.to_string(),
            format!("{:.1}", row.ready_seconds),
            format!("{:.1}", row.rss_kib / 1024.0),
            format!("{:.1}", row.private_kib / 1024.0),
            format!("{per_node:.0}"),
            format!("{:.0}", row.api_server_kib / 1024.0),
            row.connections.to_string(),
            format!("{:.1}", row.requests_per_node_minute),
            format!("{:.1}", row.cpu_percent),
        ]
    });
    let head = [
        "nodes in one process",
        "start → all Ready, s",
        "RSS MiB",
        "private MiB",
        "RSS KiB per node",
        "RSS MiB of the API server",
        "connections",
        "requests per node and minute",
        "CPU %",
    ];
    table(&head, rows)
}

fn fleet_requests(fleet: &FleetFigures) -> String {
    let rows = fleet.rows.iter().flat_map(|row| {
        let mut requests: Vec<_> = row.requests.iter().collect();
        requests.sort_by(|a, b| b.per_node_minute.total_cmp(&a.per_node_minute));
        requests
            .into_iter()
            .map(|request| vec![row.nodes.to_string(), request.what.clone(), format!("{:.2}", request.per_node_minute)])
    });
    table(&["nodes in one process", "requests", "per node and minute"], rows)
}

pub(super) fn targets(targets: &[Target]) -> String {
    let rows = targets.iter().map(|target| {
        let reached = if target.reached { "yes" } else { "NO" };
        vec![target.what.to_owned(), target.wanted.clone(), target.measured.clone(), reached.to_owned()]
    });
    table(&["target", "wanted", "measured", "reached"], rows)
}

fn latency(figures: &Figures) -> String {
    let rows = figures.latency.iter().map(|row| {
        let ms = &row.milliseconds;
        vec![
            row.who.name().to_owned(),
            row.at_once.to_string(),
            row.span.name().to_owned(),
            format!("{:.1}", ms.p50),
            format!("{:.1}", ms.p99),
            format!("{:.1}", ms.max),
            ms.samples.to_string(),
            times_kwoks(&figures.latency, row),
        ]
    });
    table(&["who", "at once", "what", "p50 ms", "p99 ms", "max ms", "samples", "p50 / kwok's"], rows)
}

/// The row's median by that of kwok's pods for the same.
fn times_kwoks(all: &[Latency], row: &Latency) -> String {
    let kwok = super::contestant::Contestant::FakePod;
    let fake = all.iter().find(|other| (other.who, other.at_once, other.span) == (kwok, row.at_once, row.span));
    match (row.span, fake) {
        (Span::CreateToRunning, Some(fake)) => format!("{:.2}", row.milliseconds.p50 / fake.milliseconds.p50),
        _ => String::new(),
    }
}

fn rate(figures: &Figures) -> String {
    let rows = figures.rate.iter().map(|row| {
        vec![
            row.who.name().to_owned(),
            format!("{:.0}", row.alone_ms),
            row.at_once.to_string(),
            format!("{:.2}", row.seconds),
            format!("{:.1}", row.per_second),
        ]
    });
    table(&["jobs that end at once", "one alone, ms", "at once", "to the last end, s", "per second"], rows)
}

fn idle(figures: &Figures) -> String {
    let mib = |kib: f64| format!("{:.2}", kib / 1024.0);
    let rows = figures.idle.iter().map(|row| {
        vec![
            row.process.clone(),
            row.when.to_owned(),
            row.processes.to_string(),
            mib(row.rss_kib),
            mib(row.private_kib),
            mib(row.pss_kib),
            format!("{:.0}", row.threads),
            format!("{:.2}", row.cpu_percent),
            format!("{:.1}", row.wakeups_per_second),
        ]
    });
    let head =
        ["idle process", "when", "of them", "RSS MiB", "private MiB", "PSS MiB", "threads", "CPU %", "wake-ups/s"];
    table(&head, rows)
}

fn writes(figures: &Figures) -> String {
    let rows = figures.writes.iter().flat_map(|writes| {
        let all = vec![
            format!("{}: {}", writes.who.name(), writes.what),
            "all".to_owned(),
            String::new(),
            format!("{:.1}", writes.per_job),
        ];
        let each = writes.by_writer.iter().map(|writer| {
            vec![String::new(), writer.writer.clone(), writer.what.clone(), format!("{:.1}", writer.per_job)]
        });
        std::iter::once(all).chain(each).collect::<Vec<_>>()
    });
    table(&["writes to the API server", "by", "what", "per job"], rows)
}

/// Columns as wide as their widest cell.
pub(super) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} "));
        format!("|{}|", cells.collect::<Vec<_>>().join("|"))
    };
    let rule = format!("|{}|", widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("|"));
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.insert(1.min(lines.len()), rule);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let text = table(&["who", "→"], [vec!["me".to_owned(), "12".to_owned()]].into_iter());
        assert_eq!(text, "| who | →  |\n|-----|----|\n| me  | 12 |");
    }
}
