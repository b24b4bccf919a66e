//! Making one probe, whatever it is, and what came of it.

mod dial;
mod exec;
mod grpc;
mod hook;
mod http;
mod location;
mod protobuf;
mod tls;

use std::time::Duration;

use tokio::time::timeout;
use vk_node_core::probe::machine::Answer;
use vk_node_core::probe::{Handler, ProbeSpec};
use vk_pipe::client::PipeClient;
use vk_task::{DirName, TaskId};

use self::dial::{Dial, DialError, PipeDialer};

pub(crate) use self::hook::{Outcome, run as hook};

/// What names this node to the programs that it asks, as the kubelet of this version names itself.
const USER_AGENT: &str = "kube-probe/1.36";
/// The most of an answer that is read: the kubelet's figure.
const MAX_ANSWER_BYTES: usize = 10 << 10;
/// How often a probe that cannot be made is tried before that is its answer: the kubelet's figure.
const TRIES: u32 = 3;

/// What a probe is made with.
pub(crate) struct Means<'a> {
    pub(crate) pipe: &'a PipeClient,
    /// The pod's address, which is the host's: what requests call it by.
    pub(crate) address: &'a str,
    pub(crate) pod: &'a DirName,
    pub(crate) task: &'a TaskId,
}

/// Makes the probe, within its time.
pub(super) async fn ask(spec: &ProbeSpec, means: &Means<'_>) -> Answer {
    let mut tries = 1;
    loop {
        let answer = once(spec, means).await;
        if tries == TRIES || !matches!(answer, Answer::Error { .. }) {
            return answer;
        }
        tries += 1;
    }
}

async fn once(spec: &ProbeSpec, means: &Means<'_>) -> Answer {
    let dialer = PipeDialer { pipe: means.pipe.clone(), pod: means.pod.clone() };
    let (within, address) = (spec.timeout, means.address);
    match &spec.handler {
        Handler::Exec { argv } => exec::run(means.pipe, means.task, argv, within).await,
        Handler::Http(action) => http::get(&dialer, action, address, within).await,
        Handler::Tcp { host, port } => tcp(&dialer, host.as_deref(), *port, address, within).await,
        Handler::Grpc { port, service } => grpc::check(&dialer, *port, service, address, within).await,
    }
}

async fn tcp<D: Dial>(dialer: &D, host: Option<&str>, port: u16, address: &str, within: Duration) -> Answer {
    let what = format!("dial tcp {}", host_port(host.unwrap_or(address), port));
    match timeout(within, dialer.dial(host, port)).await {
        Ok(Ok(_connection)) => Answer::Success,
        Ok(Err(DialError::Refused(why))) => Answer::Failure { message: format!("{what}: {why}") },
        Ok(Err(DialError::Pipe(why))) => Answer::Error { message: format!("{what}: {why}") },
        Err(_) => Answer::Failure { message: format!("{what}: i/o timeout") },
    }
}

/// A host and its port, as they stand in a URL.
fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A time as Go writes it: the kubelet's messages have it so.
fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::dial::TcpDialer;
    use super::*;

    #[tokio::test]
    async fn a_port_answers_or_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let within = Duration::from_secs(20);
        assert_eq!(tcp(&TcpDialer, None, port, "10.0.0.7", within).await, Answer::Success);
        drop(listener);
        let Answer::Failure { message } = tcp(&TcpDialer, None, port, "10.0.0.7", within).await else { panic!() };
        assert!(message.starts_with(&format!("dial tcp 10.0.0.7:{port}: ")), "{message}");
        assert!(message.contains("refused"), "{message}");
    }
}
