//! Starting children that the kernel kills when we are gone, even if we are killed with -9 and can do nothing ourselves.
//!
//! PR_SET_PDEATHSIG is what does it, and it counts from the *thread* that forked: a child started from a test's own thread would be
//! killed when that test ends. So all are started by one thread that lives as long as the process.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::process::Signal;

struct Order {
    command: Command,
    answer: Sender<io::Result<Child>>,
}

/// Starts `command` so that it is killed when this process ends, however that happens. Its own children are not tied to us.
pub fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Result<Sender<Order>, String>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = channel();
        let thread = std::thread::Builder::new().name("spawner".into());
        thread.spawn(move || serve(&inbox)).map(|_| orders).map_err(|error| error.to_string())
    });
    let orders =
        spawner.as_ref().map_err(|error| io::Error::other(format!("cannot start the spawner thread: {error}")))?;
    let (answer, result) = channel();
    let gone = |_| io::Error::other("the spawner thread is gone");
    orders.send(Order { command, answer }).map_err(|_| gone(()))?;
    result.recv().map_err(|_| gone(()))?
}

fn serve(inbox: &Receiver<Order>) {
    while let Ok(Order { mut command, answer }) = inbox.recv() {
        die_with_parent(&mut command);
        // Whoever asked may have stopped listening; the child then ends with its dropped handle unreaped, at our exit.
        let _ = answer.send(command.spawn());
    }
}

#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let ask = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died between fork and the line above; then no signal would ever come.
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(io::Error::other("the parent is gone")) }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. `ask` makes two system calls, takes no lock and
    // allocates nothing on the path where the parent lives; where it does not, nobody is left whom a deadlock could hurt.
    unsafe { command.pre_exec(ask) };
}
