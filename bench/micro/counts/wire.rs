//! The paths over the wire. The node or the frontend runs here, on one thread; what asks it, and the node
//! that a frontend asks, is a process beside it (`beside`), which is not counted.
//!
//! Time stands still here: no ping and no sweep falls into what is counted.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use gcache::clock::Clock;
use gcache::frontend::{self, Views};
use gcache::metrics::Registry;
use gcache::net::{BACKLOG, listen};
use gcache::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::beside::{DONE, WARM};
use crate::loopback::{self, config, view_of};
use crate::measure::Meter;

pub(crate) fn node_hit(operations: usize, meter: &Meter) {
    node(&["calls", "1"], operations, meter);
}

pub(crate) fn node_hit_of_16(operations: usize, meter: &Meter) {
    node(&["calls", "16"], operations, meter);
}

pub(crate) fn node_unary_hit(operations: usize, meter: &Meter) {
    node(&["unary"], operations, meter);
}

/// A node that is asked as `how` says.
fn node(how: &[&str], operations: usize, meter: &Meter) {
    frozen(async {
        let (listener, port) = listener();
        let beside = Beside::start(&[how, &[&operations.to_string(), &port.to_string()]].concat());
        loopback::node(&config(&[]), listener, &Shutdown::new());
        beside.asks(meter).await;
    });
}

pub(crate) fn frontend_hit(operations: usize, meter: &Meter) {
    frozen(async {
        let mut beside = Beside::start(&["gets", &operations.to_string()]);
        let node = beside.says().parse().expect("the port of its node");
        let (listener, port) = listener();
        let parts = frontend::Parts {
            listener,
            views: Views::Given(watch::channel(Arc::new(view_of(node))).1),
            registry: Registry::new(),
            clock: Clock::start(),
            shutdown: Shutdown::new(),
        };
        let _ready = frontend::start(&config(&[]), parts);
        beside.hears(&port.to_string());
        beside.asks(meter).await;
    });
}

/// Runs on this thread alone, with a clock that stands still.
fn frozen(task: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    runtime.expect("a runtime").block_on(task);
}

fn listener() -> (TcpListener, u16) {
    let listener = listen(([127, 0, 0, 1], 0).into(), "counts", BACKLOG).expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    (listener, port)
}

/// The process beside this one.
struct Beside {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Beside {
    fn start(words: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this executable"));
        command.arg("--beside").args(words);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("this executable starts");
        Self {
            input: child.stdin.take().expect("it is piped"),
            output: BufReader::new(child.stdout.take().expect("it is piped")),
            child,
        }
    }

    fn says(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it is text");
        line.trim().to_owned()
    }

    fn hears(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it reads");
    }

    /// Counts from the moment that everything is cached until it has asked for the last time.
    async fn asks(self, meter: &Meter) {
        let mut warm = self.until(WARM).await;
        let span = meter.begin();
        warm.hears("go on");
        let mut done = warm.until(DONE).await;
        meter.end(span);
        drop(done.input);
        assert!(done.child.wait().expect("a child").success());
    }

    /// Waits until it says `word`. On a thread for blocking work: while one is busy, a paused clock does not
    /// jump to the next timer.
    async fn until(mut self, word: &'static str) -> Self {
        let waiting = tokio::task::spawn_blocking(move || {
            assert_eq!(self.says(), word);
            self
        });
        waiting.await.expect("it does not fail")
    }
}
