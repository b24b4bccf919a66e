//! `dashboard`: a page on a port of this machine, for whoever has started it, with that person's own rights in the cluster.
//!
//! ```text
//!   browser ──cookie──▶ door ──▶ answers ──▶ what is there now  ◀── watches of jobs, pods, nodes, fleets ── API server
//!                                   └──────── a job's story, a pod's log ─────────────────────────────────▶
//! ```

mod answers;
mod sent;
mod world;

use std::future::IntoFuture as _;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, anyhow};
use tokio::net::TcpListener;
use vk_cli_core::args::{ClusterFlags, Dashboard};
use vk_cli_core::dashboard::door::{PARAMETER, Token};

use crate::cluster::Cluster;
use crate::interrupt::Signals;
use crate::screen::{print, say};
use answers::{Desk, routes};
use world::World;

pub(crate) async fn run(flags: &ClusterFlags, args: Dashboard) -> Result<u8> {
    let cluster = Cluster::of(flags).await?;
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| anyhow!("this machine has no random numbers: {error}"))?;
    let token = Token::of(random);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))
        .await
        .with_context(|| format!("cannot listen on port {}: name another one with --port", args.port))?;
    let port = listener.local_addr().context("the port is not known")?.port();
    let mut signals = Signals::new()?;
    let url = format!("http://127.0.0.1:{port}/?{PARAMETER}={}", token.reveal());
    say("The dashboard is at this address, until you press Ctrl-C. Whoever has the address sees what you see.");
    if std::env::var_os("SSH_CONNECTION").is_some() {
        say(&format!("From your own machine: ssh -L {port}:127.0.0.1:{port} to this one first."));
    }
    print(&format!("{url}\n"))?;
    let world = World::watch(&cluster, args.all_namespaces);
    let desk = Desk::new(cluster, world, token, port, args.all_namespaces);
    // Connections that are open, a log that is followed say, are not waited for.
    tokio::select! {
        // Both are for good: nothing is lost by dropping the other.
        served = axum::serve(listener, routes(desk)).into_future() => served.context("the dashboard has ended")?,
        _ = signals.next() => {}
    }
    Ok(0)
}
